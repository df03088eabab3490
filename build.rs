//! Compiles the shims on libtorch, and writes libtorch's folder into the binaries as their run-time search path, so that they start from
//! anywhere.

use std::env::var;
use std::path::PathBuf;

const SHIMS: [&str; 2] = ["src/model/script/shim.cpp", "src/model/aten/boxed.cpp"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for file in SHIMS {
        println!("cargo:rerun-if-changed={file}");
    }
    // Set by torch-sys for the packages that depend on it directly.
    let libraries = PathBuf::from(var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is"));
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libraries.display());
    // The same variables and defaults as torch-sys has, so that both see one libtorch.
    let root = var("LIBTORCH_INCLUDE").map_or_else(|_| libraries.join(".."), PathBuf::from);
    let abi = var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(root.join("include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        // Warnings of libtorch's headers are not ours to mend.
        .warnings(false)
        .files(SHIMS)
        .compile("advmod_script");
}
