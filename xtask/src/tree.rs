//! A copy of the working tree, in which plants can do no harm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Makes `copy` equal to the working tree at `root`: what git tracks, and what it neither tracks nor ignores.
///
/// Files that are equal already are not written, so that cargo does not build them again. Cost: one read of
/// both trees.
pub(crate) fn copy(root: &Path, copy: &Path) -> Result<()> {
    let files = listed(root)?;
    fs::create_dir_all(copy).with_context(|| format!("cannot create {}", copy.display()))?;
    prune(copy, copy, &files)?;
    for file in &files {
        let (from, to) = (root.join(file), copy.join(file));
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read(&to).is_ok_and(|present| present == content) {
            continue;
        }
        let parent = to.parent().expect("a file in the copy lies in a folder");
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        // Copied by path, not written from `content`, to keep the executable bit.
        fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The files of the working tree, relative to `root`. A link to a file is listed as the file; a link to a
/// folder is left out, for what it leads to is listed where it lies.
fn listed(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("git does not start; hint: the copy is made of the files that git lists")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("git lists a file whose name is not unicode")?;
    // A tracked file that was deleted is still listed.
    Ok(names.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect())
}

/// Removes the files under `folder` that are not among `files`, and the folders that this leaves empty: cargo
/// would take an empty folder beside the crates for a crate without a manifest.
fn prune(copy: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    let context = || format!("cannot clear {}", folder.display());
    for child in fs::read_dir(folder).with_context(context)? {
        let path = child.with_context(context)?.path();
        if path.is_dir() {
            prune(copy, &path, files)?;
        } else if !files.contains(path.strip_prefix(copy).expect("the walk stays in the copy")) {
            fs::remove_file(&path).with_context(context)?;
        }
    }
    if folder != copy && fs::read_dir(folder).with_context(context)?.next().is_none() {
        fs::remove_dir(folder).with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(root: &Path, arguments: &[&str]) {
        let status = Command::new("git").args(arguments).current_dir(root).status().unwrap();
        assert!(status.success(), "git {arguments:?}");
    }

    #[test]
    fn the_copy_has_what_git_lists_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (root, target) = (folder.path().join("root"), folder.path().join("copy"));
        fs::create_dir_all(root.join("inner")).unwrap();
        git(&root, &["init", "--quiet"]);
        for (name, content) in [
            (".gitignore", "/ignored\n"),
            ("ignored", "i"),
            ("inner/tracked", "t"),
            ("deleted", "d"),
            ("untracked", "u"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        git(&root, &["add", "inner/tracked", "deleted"]);
        fs::remove_file(root.join("deleted")).unwrap();
        fs::create_dir_all(target.join("old")).unwrap();
        fs::write(target.join("old/stray"), "s").unwrap();

        copy(&root, &target).unwrap();
        assert_eq!(fs::read(target.join("inner/tracked")).unwrap(), b"t");
        assert_eq!(fs::read(target.join("untracked")).unwrap(), b"u");
        for name in ["ignored", "deleted", "old"] {
            assert!(!target.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_second_copy_undoes_changes_and_leaves_equal_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (root, target) = (folder.path().join("root"), folder.path().join("copy"));
        fs::create_dir_all(&root).unwrap();
        git(&root, &["init", "--quiet"]);
        fs::write(root.join("equal"), "e").unwrap();
        fs::write(root.join("changed"), "c").unwrap();
        copy(&root, &target).unwrap();
        let written = |name: &str| fs::metadata(target.join(name)).unwrap().modified().unwrap();
        let before = written("equal");
        fs::write(target.join("changed"), "planted").unwrap();

        copy(&root, &target).unwrap();
        assert_eq!(fs::read(target.join("changed")).unwrap(), b"c");
        assert_eq!(written("equal"), before);
    }
}
