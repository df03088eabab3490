//! What an attack would be, before it is added to an audit.

use advmod_attacks::attack::{Passes, Scale};
use advmod_attacks::config::AttackConfig;
use advmod_attacks::threat::{Goal, Target};

use super::attack::{Configured, ResolvedAttack, label};
use super::event::AuditStart;
use super::plan::{AttackPlan, AuditPlan};

/// An attack, or the attacks of a sweep, with all parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Preview {
    /// The smallest ε first.
    pub attacks: Vec<ResolvedAttack>,
    /// The most that one image can cost, all sizes of the sweep together; absent before model and data are known.
    pub most: Option<Passes>,
}

impl AuditPlan {
    /// What an attack would be if it was added to a run of this plan: the same checks as when it is.
    pub(crate) fn preview(&self, attack: &AttackPlan, start: Option<&AuditStart>) -> Result<Preview, String> {
        let alone = Self { attack: vec![attack.clone()], ..self.clone() };
        let configured = alone.configured(self.preset()?)?;
        let attacks = label(&configured);
        let Some(start) = start else { return Ok(Preview { attacks, most: None }) };
        let check = |it: &Configured| check_target(&it.config, start.model.classes);
        configured.iter().try_for_each(check)?;
        let mut most = Passes::default();
        for Configured { config, .. } in &configured {
            let [channels, height, width] = start.data.shape.map(|size| size as u64);
            let (classes, is_targeted) = (start.model.classes as u64, config.goal.is_targeted());
            let one = config.attack.most_passes(&Scale { channels, height, width, classes, is_targeted });
            most.forwards = most.forwards.saturating_add(one.forwards);
            most.backwards = most.backwards.saturating_add(one.backwards);
        }
        Ok(Preview { attacks, most: Some(most) })
    }
}

/// Refuses a class to aim at that the model does not have.
pub(super) fn check_target(config: &AttackConfig, classes: usize) -> Result<(), String> {
    match config.goal {
        Goal::Targeted(Target::Class(class)) if class >= classes as i64 => Err(format!(
            "{}.target = {class}: the model has {classes} classes, the last is {}",
            config.spec.id,
            classes - 1
        )),
        _ => Ok(()),
    }
}
