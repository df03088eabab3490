//! The screens, and the panes of the first one.

use clap::ValueEnum;

/// In the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Overview,
    Samples,
    Layers,
    Attacks,
    Log,
}

impl Screen {
    pub const ALL: [Self; 5] = [Self::Overview, Self::Samples, Self::Layers, Self::Attacks, Self::Log];

    pub fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Samples => "Samples",
            Self::Layers => "Layers",
            Self::Attacks => "Attacks",
            Self::Log => "Log",
        }
    }
}

/// In the order of Tab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Pane {
    #[default]
    Chart,
    Results,
    Progress,
    Log,
}
