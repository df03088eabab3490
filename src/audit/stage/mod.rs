//! The pieces of work that an audit is made of. Tensors live here and below; events carry plain data out.

pub mod attack;
pub mod clean;
pub mod curve;
pub mod pixels;
