//! Faults that are planted into the core to see whether the simulator finds them.

/// Plants a fault by its name; from now on it is in every core of the process.
///
/// `None`: there is no such fault, or the core was built without any.
#[must_use]
pub fn plant_by_name(name: &str) -> Option<()> {
    #[cfg(feature = "planted-faults")]
    {
        let fault = engine::fault::Fault::ALL
            .into_iter()
            .find(|fault| format!("{fault:?}") == name)?;
        engine::fault::plant_everywhere(fault);
        Some(())
    }
    #[cfg(not(feature = "planted-faults"))]
    {
        let _ = name;
        None
    }
}
