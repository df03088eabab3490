//! The `advmod` command.

fn main() -> std::process::ExitCode {
    advmod::cli::run()
}
