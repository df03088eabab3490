//! Panics on demand, in debug builds only: how else would a test see that the terminal survives one?

/// Panics if `ADVMOD_PANIC` names this place.
///
/// # Panics
/// That is what it is for.
pub(crate) fn strike(place: &str) {
    assert!(
        std::env::var_os("ADVMOD_PANIC").is_none_or(|wanted| wanted != place),
        "a panic of the {place} was asked for"
    );
}
