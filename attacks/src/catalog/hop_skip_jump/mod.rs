//! HopSkipJump: along the decision boundary, asking for labels only.

mod walk;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::attack::{
    Attack, AttackKind, AttackSpec, Batch, MinimalAttack, Paper, ParamDoc, Passes, Preset, Scale, read_params,
};
use crate::error::{AttackError, ParamError};
use crate::query::Query;
use crate::rows;
use crate::threat::Norm;
use crate::victim::{Access, VictimError};
use walk::{Frame, Walk};

pub(super) static SPEC: AttackSpec = AttackSpec {
    id: "hop-skip-jump",
    title: "HopSkipJump",
    what: "Walks along the decision boundary towards the original, asking for the predicted class only. For models whose scores cannot be had; \
           its distances are upper bounds that fall with the number of queries.",
    kind: AttackKind::Search,
    access: Access::Labels,
    norms: &[Norm::L2, Norm::Linf],
    untargeted: true,
    targeted: false,
    paper: Paper {
        authors: "Chen, Jordan, Wainwright",
        title: "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        venue: "S&P",
        year: 2020,
        url: "https://arxiv.org/abs/1904.02144",
    },
    params: &[
        ParamDoc {
            name: "queries",
            default: "5000",
            range: "1 to 1000000",
            help: "Images shown to the model per sample",
        },
        ParamDoc {
            name: "evaluations",
            default: "100",
            range: "1 to 100000",
            help: "Images from which the first direction is estimated; the t-th takes √t times as many",
        },
    ],
    presets: &[
        Preset::Quick.values(Norm::L2, "queries=500", "standard with fewer queries"),
        Preset::Quick.values(Norm::Linf, "queries=500", "standard with fewer queries"),
        Preset::Standard.values(Norm::L2, "queries=5000", "the paper's constants; 5000 is one of its budgets"),
        Preset::Standard.values(Norm::Linf, "queries=5000", "the paper's constants; 5000 is one of its budgets"),
        Preset::Paper.values(Norm::L2, "queries=25000", "the HopSkipJump paper's; AdverTorch has no such attack"),
        Preset::Paper.values(Norm::Linf, "queries=25000", "the HopSkipJump paper's; AdverTorch has no such attack"),
    ],
    defaults: || toml::Table::try_from(Params::default()).expect("plain values make a table"),
    build,
};

/// From an image of another class, in turn: to the boundary by bisection towards the original; there the direction that leads into the other class,
/// `v = Σ (φ_b − mean φ) u_b` over random unit u_b with `φ_b = ±1` as x + δ u_b is adversarial or not; and a step along v (its sign for L∞) of
/// `‖x' − x‖ / √t`, halved until it is adversarial. `δ = ‖x' − x‖ / d`, 0.1 at first, d the number of values of an image; `100 √t` directions.
/// Bisection stops at `d^(−3/2)` of the way for L2, at `d^(−2)` for L∞. Of all adversarial images seen the nearest is kept.
///
/// # Source
/// The paper's algorithms 1 and 2 and its constants.
/// # Deviations
/// Starts are random images of ever coarser grain, down to a single colour, since noise alone is often of the class to leave. A query budget
/// ends the walk, not a number of steps; the last direction takes what is left of it.
/// # Cost
/// One forward per query.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Params {
    queries: u32,
    evaluations: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { queries: 5000, evaluations: 100 }
    }
}

fn build(table: &toml::Table) -> Result<Attack, ParamError> {
    let params: Params = read_params(SPEC.id, table)?;
    let check = |param, value: u32, is_good, why| ParamError::check(SPEC.id, param, value, is_good, why);
    let Params { queries, evaluations } = params;
    check("queries", queries, (1..=1_000_000).contains(&queries), "must be 1 to 1000000")?;
    check("evaluations", evaluations, (1..=100_000).contains(&evaluations), "must be 1 to 100000")?;
    Ok(Attack::Minimal(Box::new(params)))
}

impl MinimalAttack for Params {
    fn most_passes(&self, _: &Scale) -> Passes {
        Passes { forwards: self.queries.into(), backwards: 0 }
    }

    fn run(&self, query: &mut Query<'_>, batch: &Batch<'_>, norm: Norm) -> Result<Tensor, AttackError> {
        let device = batch.pixels.device();
        let shape = batch.pixels.size();
        let frame = Frame::new(&shape, norm);
        let originals = plain_rows(batch.pixels)?;
        let walks = originals.into_iter().zip(batch.ids);
        let mut walks: Vec<Walk> =
            walks.map(|(original, &id)| Walk::new(frame, original, query.rng(id).clone(), self)).collect();
        // Twice as many rows as the batch: no gradients are kept.
        let rows_at_once = (2 * walks.len()).next_multiple_of(8).max(16);
        let mut step = 0;
        loop {
            let most = walks.iter().map(Walk::n_queries).max().unwrap_or(0);
            while step <= most && step < self.queries {
                query.step(step, self.queries)?;
                step += 1;
            }
            let n_open = walks.iter().filter(|walk| !walk.is_done()).count();
            let room = rows_at_once.checked_div(n_open).map_or(0, |room| room.max(1));
            let asked: Vec<Vec<Vec<f32>>> = walks.par_iter_mut().map(|walk| walk.ask(room)).collect();
            let rows: Vec<usize> = (0..walks.len()).flat_map(|at| std::iter::repeat_n(at, asked[at].len())).collect();
            if rows.is_empty() {
                break;
            }
            let mut answers = Vec::with_capacity(rows.len());
            let images: Vec<Vec<f32>> = asked.iter().flatten().cloned().collect();
            for (rows, images) in rows.chunks(rows_at_once).zip(images.chunks(rows_at_once)) {
                let ids: Vec<u32> = rows.iter().map(|&row| batch.ids[row]).collect();
                let pixels =
                    rows::upload(&images.concat(), device).reshape([rows.len() as i64, shape[1], shape[2], shape[3]]);
                let places: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
                let classes = batch.classes.index_select(0, &rows::upload(&places, device));
                answers.extend(query.is_met(&ids, &pixels, &classes, batch.goal)?);
            }
            let mut answers = answers.into_iter();
            let answers: Vec<Vec<bool>> =
                asked.iter().map(|images| answers.by_ref().take(images.len()).collect()).collect();
            let learned = walks.par_iter_mut().zip(asked).zip(answers);
            learned.for_each(|((walk, images), answers)| walk.learn(images, &answers));
            query.tell_broken(walks.iter().filter(|walk| walk.first_success().is_some()).count());
        }
        for (walk, &id) in walks.iter().zip(batch.ids) {
            if let Some(queries) = walk.first_success() {
                query.tell_success(id, queries.into());
            }
        }
        let nearest: Vec<f32> = walks.into_iter().flat_map(Walk::into_nearest).collect();
        Ok(rows::upload(&nearest, device).reshape(shape))
    }
}

fn plain_rows(pixels: &Tensor) -> Result<Vec<Vec<f32>>, AttackError> {
    #[expect(clippy::disallowed_methods, reason = "brings values to the processor, chooses no device for the victim")]
    let pixels = pixels.to_device(Device::Cpu);
    Ok(Vec::<Vec<f32>>::try_from(pixels.flatten(1, -1)).map_err(VictimError::from)?)
}

#[cfg(test)]
mod tests {
    use crate::attack::Preset;
    use crate::config::{AttackConfig, parse_spec_string};

    #[test]
    fn every_bad_value_is_named() {
        for (values, message) in [
            ("queries=0", "hop-skip-jump.queries = 0: must be 1 to 1000000"),
            ("evaluations=0", "hop-skip-jump.evaluations = 0: must be 1 to 100000"),
            ("target=1", "hop-skip-jump.target = targeted (1): it is untargeted only"),
        ] {
            let (id, table) = parse_spec_string(&format!("hop-skip-jump:{values}")).unwrap();
            let error = AttackConfig::new(&id, Preset::Standard, &table).unwrap_err();
            assert_eq!(error.to_string(), message.replace("target = targeted (1)", "goal = targeted (1)"));
        }
    }
}
