//! The variables that were given to a site: listed, tried out, changed.

use std::ffi::OsStr;
use std::sync::Arc;

use super::change::nobody;
use super::{Appliance, OperationError};
use crate::api::{
    EnvVariable, EventKind, VariableChange, VariableChanges, VariableFate, VariableProblem,
    VariablesCheck,
};
use crate::environment::is_private;

impl Appliance {
    /// The variables that were given to a site.
    ///
    /// # Errors
    /// Where there is no such site.
    pub(crate) async fn variables(&self, site: &str) -> Result<Vec<EnvVariable>, OperationError> {
        self.row(site).await?;
        let variables = self.store.variables(site).await?;
        Ok(variables.into_iter().map(|(name, value)| EnvVariable { name, value }).collect())
    }

    /// What changes would do; nothing is changed.
    ///
    /// # Errors
    /// Where there is no such site.
    pub(crate) async fn check_variables(
        &self,
        site: &str,
        wanted: &VariableChanges,
    ) -> Result<VariablesCheck, OperationError> {
        let row = self.row(site).await?;
        let known = self.store.variables(site).await?;
        let layout = self.layout();
        let of_release = layout.site(site).map(|placed| &placed.release.plan.env);
        let mut check = VariablesCheck::default();
        for (name, value) in &wanted.0 {
            let before = known.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            if let Err(message) = check_variable(name, value.as_deref(), before.is_some()) {
                check.problems.push(VariableProblem { name: name.clone(), message });
                continue;
            }
            let becomes = match (before, value) {
                (_, None) => VariableFate::Removed,
                (None, Some(_)) => VariableFate::Added,
                (Some(before), Some(value)) if before == value => VariableFate::Unchanged,
                (Some(_), Some(_)) => VariableFate::Changed,
            };
            check.changes.push(VariableChange { name: name.clone(), becomes });
            if of_release.is_some_and(|env| env.iter().any(|(other, _)| other == name)) {
                check.warnings.push(match value {
                    Some(_) => format!("{name} stands in onebox.toml, too: this value counts"),
                    None => format!("{name} stands in onebox.toml, too: that value counts then"),
                });
            }
        }
        let is_changed =
            check.changes.iter().any(|change| change.becomes != VariableFate::Unchanged);
        check.restarts = is_changed && !row.stopped && row.live_release.is_some();
        Ok(check)
    }

    /// Makes changes, all or none, and restarts the site with them.
    ///
    /// # Errors
    /// [`OperationError`]; where only the restart failed, the changes stay for the next start.
    pub(crate) async fn change_variables(
        self: &Arc<Self>,
        site: &str,
        wanted: &VariableChanges,
    ) -> Result<(), OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        let check = self.check_variables(site, wanted).await?;
        if !check.problems.is_empty() {
            let problems = check.problems.iter();
            let problems: Vec<_> =
                problems.map(|problem| format!("{}: {}", problem.name, problem.message)).collect();
            return Err(OperationError::Invalid(problems.join("; ")));
        }
        self.store.change_variables(site, &wanted.0).await?;
        let text = format!("variables changed: {}", wanted.shown());
        self.journal.site(EventKind::Configuration, site, None, &text);
        match check.restarts {
            true => self.restart_locked(site, &nobody()).await.map(drop),
            false => Ok(()),
        }
    }
}

impl VariableChanges {
    /// The names; a minus stands before those that go.
    pub(crate) fn shown(&self) -> String {
        let name = |(name, value): (&String, &Option<String>)| match value {
            Some(_) => name.clone(),
            None => format!("-{name}"),
        };
        self.0.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

fn check_variable(name: &str, value: Option<&str>, is_known: bool) -> Result<(), String> {
    let Some(value) = value else {
        return if is_known { Ok(()) } else { Err("is not set".to_owned()) };
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if !is_name {
        return Err("can't be a name: letters, digits and _, no digit in front".to_owned());
    }
    if is_private(OsStr::new(name)) {
        return Err("is kept for onebox and its service manager: no site gets it".to_owned());
    }
    if value.contains('\0') {
        return Err("the value has a NUL byte".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_would_take_is_a_variable() {
        check_variable("DATABASE_URL", Some("x=y z"), false).unwrap();
        for (name, value) in
            [("", ""), ("1A", ""), ("A-B", ""), ("ONEBOX_X", ""), ("LISTEN_FDS", ""), ("A", "\0")]
        {
            check_variable(name, Some(value), true).unwrap_err();
        }
    }

    #[test]
    fn only_what_is_set_is_taken_away() {
        check_variable("A", None, true).unwrap();
        check_variable("A", None, false).unwrap_err();
    }
}
