//! Where findings stand in the catalogues of others, and what these advise.
//!
//! # Source
//! MITRE ATLAS 5.6.0; NIST AI 100-2e2025; OWASP Machine Learning Security Top 10, 2023; CWE-1039.

use super::finding::Mapping;

/// The release of MITRE ATLAS whose numbers are used.
pub(crate) const ATLAS_VERSION: &str = "5.6.0";

pub(crate) fn atlas(id: &str, name: &str) -> Mapping {
    entry(&format!("MITRE ATLAS {ATLAS_VERSION}"), id, name)
}

fn entry(catalogue: &str, id: &str, name: &str) -> Mapping {
    Mapping { catalogue: catalogue.to_owned(), id: id.to_owned(), name: name.to_owned() }
}

/// Of attacks with gradients, or without.
pub(crate) fn mapping(is_black_box: bool) -> Vec<Mapping> {
    let nist = "NIST AI 100-2e2025";
    let (craft, access, evasion) = if is_black_box {
        (
            atlas("AML.T0043.001", "Craft Adversarial Data: Black-Box Optimization"),
            atlas("AML.T0040", "AI Model Inference API Access"),
            entry(nist, "NISTAML.025", "Black-box Evasion"),
        )
    } else {
        (
            atlas("AML.T0043.000", "Craft Adversarial Data: White-Box Optimization"),
            atlas("AML.T0044", "Full AI Model Access"),
            entry(nist, "NISTAML.022", "Evasion Attacks"),
        )
    };
    vec![
        craft,
        access,
        atlas("AML.T0015", "Evade AI Model"),
        atlas("AML.T0031", "Erode AI Model Integrity"),
        entry(nist, "NISTAML.02", "Integrity Violations"),
        evasion,
        entry("OWASP ML Top 10 (2023)", "ML01:2023", "Input Manipulation Attack"),
        entry("CWE", "CWE-1039", "Inadequate Detection or Handling of Adversarial Input Perturbations"),
    ]
}

/// Against attacks with gradients, or without, whose changes are `of at most 8/255 in L∞`.
pub(crate) fn recommendation(is_black_box: bool, size: &str) -> String {
    let train = format!("Train with adversarial examples whose changes are {size} (ATLAS AML.M0003 Model Hardening)");
    let rest = if is_black_box {
        ". At the interface, limit queries per client (AML.M0004) and give labels or rounded scores instead of full ones (AML.M0002); both \
         slow this attacker down and stop no one who has the weights. Detect such inputs before they reach the model (AML.M0015)."
    } else {
        ", and keep the weights from attackers: without them this attack needs a substitute model. Restore or detect changed inputs \
         (AML.M0010, AML.M0015) only as a second line: attacks adapt to both."
    };
    train + rest
}
