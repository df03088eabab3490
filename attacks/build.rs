//! Writes libtorch's folder into the binaries as their run-time search path, so that they start from anywhere.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by torch-sys for the packages that depend on it directly.
    if let Ok(libraries) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{libraries}");
    }
}
