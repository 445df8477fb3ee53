//! Generates the services and messages of `proto/`, without a system compiler.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

const FILES: [&str; 4] = [
    "selfsame/v1/types.proto",
    "selfsame/v1/peer.proto",
    "selfsame/v1/operator.proto",
    "selfsame/v1/origin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = protox::compile(FILES, [root])?;
    tonic_prost_build::configure().compile_fds(files.clone())?;

    // Reflection needs no comments.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("selfsame.v1.descriptors"), files.encode_to_vec())?;
    Ok(())
}
