//! The screens, and the panes of the first one.

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    Chart,
    Results,
    Progress,
    Log,
}

impl Pane {
    /// In the order of Tab.
    pub const ALL: [Self; 4] = [Self::Chart, Self::Results, Self::Progress, Self::Log];
}
