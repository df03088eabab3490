//! What an audit says of its model, data and plan before it begins.

use std::time::SystemTime;

use super::event::{AuditStart, DataSummary, ModelSummary, Tool};
use super::plan::Job;
use crate::data::{DatasetInfo, Images};
use crate::model::load::Findings;
use crate::model::{Model, ModelCost};

/// Describes a run of `job` on these samples, at this moment.
///
/// # Errors
/// That the normalization does not fit the model's channels.
pub(super) fn describe(
    job: &Job,
    (model, findings, cost): (&Model, &Findings, &ModelCost),
    (info, class_names): (&DatasetInfo, &[String]),
    (images, indices): (&Images, &[usize]),
) -> Result<AuditStart, String> {
    let model_info = model.info();
    let (mean, std) = model_info.normalization.for_channels(model_info.channels)?;
    Ok(AuditStart {
        tool: Tool::this(),
        plan_file: job.plan_file(),
        baseline: job.baseline.clone(),
        plan: job.plan.clone(),
        model: ModelSummary {
            name: model_info.name.clone(),
            sha256: model_info.sha256.clone(),
            format: model_info.format.clone(),
            architecture: model_info.architecture.clone(),
            classes: model_info.classes as usize,
            parameters: cost.parameters,
            macs: cost.macs,
            is_random: findings.not_deterministic,
            gives_probabilities: findings.probabilities,
            normalization: model_info.normalization.name.clone(),
            mean,
            std,
        },
        data: DataSummary {
            name: info.name.clone(),
            format: info.format.to_owned(),
            split: info.split.map(|split| split.name().to_owned()),
            sha256: info.sha256.clone(),
            available: info.n,
            shape: [info.channels, info.height, info.width],
            classes: class_names.to_vec(),
            indices: indices.to_vec(),
            labels: images.labels.clone(),
        },
        taps: model.tap_paths(),
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
    })
}
