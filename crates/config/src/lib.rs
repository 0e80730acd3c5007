//! Every setting of a box and of a site: parsed once, merged, checked, and handed on as plain data.

pub mod site;
