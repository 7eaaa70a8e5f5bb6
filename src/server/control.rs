//! Control by JSON: the methods of a shard, and those of the configuration, which no shard knows.

use serde_json::{Value, json};

use super::Server;
use super::reload::Change;
use crate::broker::Shard;
use crate::config::{Problem, ServerConfig};
use crate::net::Error;
use crate::service::{self, ControlError, Scope, control};

impl Server {
    /// Runs a method of [`control`].
    ///
    /// # Errors
    /// Outside as [`Runtime::request`](crate::net::Runtime::request); inside [`ControlError`].
    pub fn control(&self, method: &str, parameters: &str) -> Result<Result<String, ControlError>, Error> {
        let call = {
            let (method, parameters) = (method.to_owned(), parameters.to_owned());
            move |shard: &mut Shard, now| control(shard, now, &method, &parameters)
        };
        if self.shards.len() == 1 {
            return self.request(call);
        }
        match service::scope(method, parameters) {
            Err(error) => Ok(Err(error)),
            Ok(Scope::First) => self.request(call),
            Ok(Scope::Home(client_id)) => self.request_of(self.home_of(&client_id), call),
            Ok(Scope::Every) => self.change_all(Ok(String::new()), Result::is_ok, call),
            Ok(Scope::Clients) => Ok(service::clients_of_all(&self.clients()?, parameters)),
            Ok(Scope::Statistics) => Ok(service::statistics_of_all(&self.stats()?, parameters)),
        }
    }
}

/// The problems of a configuration given as `{"configuration": {...}}` or `{"toml": "..."}`, and
/// the configuration.
///
/// # Errors
/// `Invalid`: neither of the two.
pub fn given_config(parameters: &str) -> Result<(ServerConfig, Vec<Problem>), ControlError> {
    let expected = || ControlError::Invalid("expected {\"configuration\": {...}} or {\"toml\": \"...\"}".to_owned());
    let value: Value = serde_json::from_str(parameters).map_err(|error| ControlError::Invalid(format!("not JSON: {error}")))?;
    let members = value.as_object().filter(|members| members.len() == 1).ok_or_else(expected)?;
    let mut config = ServerConfig::default();
    let mut problems = match (members.get("configuration"), members.get("toml")) {
        (Some(configuration @ Value::Object(_)), None) => {
            let text = configuration.to_string();
            let mut problems = config.load_json(&text);
            // Its lines are not those of the caller.
            problems.iter_mut().for_each(|problem| problem.line = 0);
            problems
        }
        (None, Some(Value::String(text))) => config.load_toml(text),
        _ => return Err(expected()),
    };
    if problems.is_empty() {
        problems = config.check();
    }
    Ok((config, problems))
}

/// `{"problems": [{"line", "text", "suggestion"}]}`.
pub fn problems_json(problems: &[Problem]) -> String {
    let list: Vec<Value> =
        problems.iter().map(|problem| json!({ "line": problem.line, "text": problem.error.to_string(), "suggestion": problem.error.suggestion() })).collect();
    json!({ "problems": list }).to_string()
}

/// `{"applied": [...], "needs_restart": [...], "failed": [...]}`.
pub fn changes_json(changes: &[Change]) -> String {
    let of = |pick: fn(&Change) -> Option<&String>| changes.iter().filter_map(pick).cloned().collect::<Vec<_>>();
    json!({
        "applied": of(|change| if let Change::Applied(what) = change { Some(what) } else { None }),
        "needs_restart": of(|change| if let Change::NeedsRestart(what) = change { Some(what) } else { None }),
        "failed": of(|change| if let Change::Failed(what) = change { Some(what) } else { None }),
    })
    .to_string()
}
