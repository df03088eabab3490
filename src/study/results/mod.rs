//! What the studies give: plain data that reports and screens show.

pub mod dynamics;
