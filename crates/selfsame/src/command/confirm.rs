//! Asking a person before something is done that cannot be taken back, or not easily.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Usage;

/// Whether a person can be asked; a mistake of the caller's if not, and nobody said yes beforehand.
pub(crate) fn somebody_to_ask(yes: bool) -> Result<(), Usage> {
    if yes || io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Usage(
        "nobody is there to ask: stdin is no terminal; hint: `--yes` goes ahead without asking".to_owned(),
    ))
}

/// Asks on the terminal; `true` if the answer is exactly `expected`.
pub(crate) fn confirmed(question: &str, expected: &str) -> anyhow::Result<bool> {
    answered(question, expected, &mut io::stdin().lock(), &mut io::stderr())
}

fn answered(
    question: &str,
    expected: &str,
    answers: &mut impl BufRead,
    questions: &mut impl Write,
) -> anyhow::Result<bool> {
    write!(questions, "{question} ")?;
    questions.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    Ok(answer.trim() == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_answer_is_a_yes() {
        let asked = |answer: &str| {
            let mut said = Vec::new();
            let yes = answered("How many?", "12", &mut answer.as_bytes(), &mut said).unwrap();
            (yes, String::from_utf8(said).unwrap())
        };
        assert_eq!(asked("12\n"), (true, "How many? ".to_owned()));
        for other in ["", "\n", "y\n", "1\n", "120\n", "12 of them\n"] {
            assert!(!asked(other).0, "{other:?}");
        }
    }
}
