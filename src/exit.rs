//! How the process ends. The numbers are part of the interface.

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything was done, and no gate failed.
    Pass = 0,
    GateFailed = 1,
    /// The command line or the plan is wrong.
    Usage = 2,
    /// Model, data, device or disk.
    Runtime = 3,
    /// Nothing could be concluded.
    Inconclusive = 4,
    /// Ctrl-C.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// All of them, at the end of the help.
    pub(crate) const HELP: &str = "Exit codes: 0 pass, 1 a gate failed, 2 usage or configuration, 3 runtime (model, data, device, disk), \
                            4 inconclusive, 130 interrupted, 143 terminated.";

    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        let all = [
            Exit::Pass,
            Exit::GateFailed,
            Exit::Usage,
            Exit::Runtime,
            Exit::Inconclusive,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        let numbers = Exit::HELP.split([' ', ',', '.']).filter_map(|word| word.parse::<u8>().ok());
        assert_eq!(numbers.collect::<Vec<_>>(), all.map(Exit::code));
    }
}
