//! The plants in the list fit the tree, and planting tells a caught plant from everything else.

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_plant_fits_the_tree() {
    for plant in PLANTS.iter() {
        let source = fs::read_to_string(root().join(plant.file)).unwrap();
        let planted = planted(&source, plant);
        assert!(
            planted.is_ok(),
            "{}: the text to replace occurs {planted:?} times, and not once",
            plant.name
        );
        assert_ne!(planted, Ok(source), "{}: the plant changes nothing", plant.name);
    }
}

#[test]
fn names_of_plants_are_words_and_unique() {
    for (index, plant) in PLANTS.iter().enumerate() {
        // A name is also the name of a log.
        assert!(
            plant.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{}",
            plant.name
        );
        assert!(PLANTS[..index].iter().all(|other| other.name != plant.name), "{} occurs twice", plant.name);
    }
}

#[test]
fn an_unknown_name_is_refused() {
    assert_eq!(chosen(&PLANTS, &[]).unwrap().len(), PLANTS.len());
    assert_eq!(chosen(&PLANTS, &[PLANTS[1].name.into()]).unwrap()[0].name, PLANTS[1].name);
    let error = chosen(&PLANTS, &["no-such-plant".into()]).unwrap_err().to_string();
    assert!(error.contains("`no-such-plant`"), "{error}");
}

#[test]
fn only_a_test_that_ran_and_failed_is_red() {
    let result = |passed, failed| {
        format!("running 1 test\ntest result: x. {passed} passed; {failed} failed; 0 ignored; 0 measured\n")
    };
    assert_eq!(Run::of(true, &result(1, 0)), Run::Green);
    assert_eq!(Run::of(false, &result(0, 1)), Run::Red);
    assert_eq!(Run::of(true, &result(0, 0)), Run::NoTestRan, "an ignored test");
    assert_eq!(Run::of(true, "running 0 tests\n"), Run::NoTestRan);
    assert_eq!(Run::of(false, "error: no library targets found\n"), Run::NoTestRan);
    assert_eq!(Run::of(false, "running 1 test\nerror: test failed (signal: 6, SIGABRT)\n"), Run::Red);
}

/// A package with a test inside and one outside, a test that is red, one that is ignored and one that hangs.
const SOURCE: &str = "
pub fn answer() -> u32 { 42 }
#[test] fn knows_the_answer() { assert_eq!(answer(), 42) }
#[test] fn is_red() { assert!(false) }
#[test] #[ignore] fn is_ignored() { assert_eq!(answer(), 42) }
#[test] fn waits() { std::thread::sleep(std::time::Duration::from_secs(600)) }
";
const OUTSIDE: &str = "#[test] fn tells_the_answer() { assert_eq!(fixture::answer(), 42) }";

/// The package in a working tree under `folder`.
fn fixture(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::create_dir_all(root.join("tests")).unwrap();
    let manifest = "[package]\nname = \"fixture\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
    fs::write(root.join("src/lib.rs"), SOURCE).unwrap();
    fs::write(root.join("tests/outside.rs"), OUTSIDE).unwrap();
    let status = Command::new("git").args(["init", "--quiet"]).current_dir(&root).status().unwrap();
    assert!(status.success());
    root
}

fn inside(name: &'static str) -> Test {
    Test { package: "fixture", target: &["--lib"], name }
}

#[test]
fn planting_tells_a_caught_plant_from_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    let outside = Test { package: "fixture", target: &["--test", "outside"], name: "tells_the_answer" };
    let plant = |find, replace, test| Plant {
        name: "fixture",
        breaks: "it",
        file: "src/lib.rs",
        find,
        replace,
        test,
    };
    let knows = inside("knows_the_answer");
    let cases = [
        (plant("{ 42 }", "{ 43 }", knows), Found::Caught),
        (plant("{ 42 }", "{ 43 }", outside), Found::Caught),
        (plant("{ 42 }", "{ std::process::abort() }", knows), Found::Caught),
        (plant("{ 42 }", "{ 40 + 2 }", knows), Found::After(Run::Green)),
        (plant("{ 42 }", "{ 4 2 }", knows), Found::After(Run::DoesNotCompile)),
        (plant("fn knows_the", "fn gives_the", knows), Found::After(Run::NoTestRan)),
        (plant("{ 42 }", "{ 43 }", inside("is_red")), Found::Before(Run::Red)),
        (plant("{ 42 }", "{ 43 }", inside("is_ignored")), Found::Before(Run::NoTestRan)),
        (plant("{ 42 }", "{ 43 }", inside("knows")), Found::Before(Run::NoTestRan)),
        (plant("{ 44 }", "{ 43 }", knows), Found::Occurrences(0)),
        (plant("42", "43", knows), Found::Occurrences(3)),
        (Plant { file: "src/gone.rs", ..plant("{ 42 }", "{ 43 }", knows) }, Found::NoFile),
    ];
    let bed = Bed::prepare(&root, &folder.path().join("plant"), TEST_MAX).unwrap();
    let (plants, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(bed.try_all(&plants).unwrap(), expected);

    assert_eq!(fs::read_to_string(bed.tree().join("src/lib.rs")).unwrap(), SOURCE, "the last plant is out");
    let second = Bed::prepare(&root, &folder.path().join("plant"), TEST_MAX);
    assert!(second.err().is_some_and(|error| error.to_string().contains("in use")));
}

#[test]
fn a_test_that_hangs_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let root = fixture(folder.path());
    // Any bound below the test's own ten minutes gives the same answer.
    let bed = Bed::prepare(&root, &folder.path().join("plant"), Duration::from_secs(1)).unwrap();
    assert_eq!(bed.run(&inside("waits"), "waits").unwrap(), Run::DidNotEnd);
}
