//! `stepwell._native`: the kernel for CPython. A thin layer: arguments in, the core's answer out, no logic of its own.

mod actions;
mod arrow;
mod bridge;
mod bulk;
mod clock;
mod columns;
mod errors;
mod execution;
mod given;
mod ids;
mod journal;
mod step;
mod view;

use pyo3::prelude::*;

/// The native backend of stepwell.
// Free-threaded builds are not promised yet: on one this module asks for the interpreter lock.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<execution::Execution>()?;
    module.add_class::<step::Step>()?;
    module.add_class::<clock::SystemClock>()?;
    module.add_class::<ids::IdSource>()?;
    module.add("new_id", Py::new(py, ids::IdSource::process())?)?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item("after_in_child", wrap_pyfunction!(ids::reseed, module)?)?;
        os.call_method("register_at_fork", (), Some(&kwargs))?;
    }
    Ok(())
}
