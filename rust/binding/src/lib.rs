//! `stepwell._native`: the kernel for CPython. A thin layer: arguments in, the core's answer out, no logic of its own.

mod actions;
mod appending;
mod arrow;
mod awaiting;
mod bridge;
mod bulk;
mod clock;
mod columns;
mod engine;
mod errors;
mod execution;
mod given;
mod ids;
mod journal;
mod mailbox;
mod step;
mod ticket;
mod view;

use pyo3::prelude::*;

/// The native backend of stepwell.
// Free-threaded builds are not promised yet: on one this module asks for the interpreter lock.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    if stepwell_store::library_number() < stepwell_store::SAFE_LIBRARY {
        let message = format!("SQLite {} is not safe in WAL mode", stepwell_store::library());
        return Err(pyo3::exceptions::PyImportError::new_err(message));
    }
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<execution::Execution>()?;
    module.add_class::<step::Step>()?;
    module.add_class::<clock::SystemClock>()?;
    module.add_class::<ids::IdSource>()?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<ticket::Ticket>()?;
    module.add_class::<appending::Appender>()?;
    module.add("new_id", Py::new(py, ids::IdSource::process())?)?;
    module.add_function(wrap_pyfunction!(bridge::encode, module)?)?;
    module.add_function(wrap_pyfunction!(actions::start_step, module)?)?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let kwargs = pyo3::types::PyDict::new(py);
        kwargs.set_item("after_in_child", wrap_pyfunction!(ids::reseed, module)?)?;
        os.call_method("register_at_fork", (), Some(&kwargs))?;
    }
    Ok(())
}
