//! `os.fork` and `multiprocessing` in an application: a forked child must not hold the listening sockets, or the address
//! stays taken after the server has ended, and clients connect to nobody; and it is better not forked at all.

use pyo3::prelude::*;

/// Makes forked children close the server's sockets; before the application is loaded.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let code = pyo3::ffi::c_str!(include_str!("fork_guard.py"));
    let module = PyModule::from_code(py, code, c"fork_guard.py", c"onebox_fork_guard")?;
    module.call_method0("install").map(drop)
}
