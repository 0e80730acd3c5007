//! `onebox token`: credentials of programs.

use std::time::Duration;

use http::Method;
use onebox_supervisor::api::{CreatedToken, NewToken, Token};
use serde::de::IgnoredAny;

use crate::cli::TokenAction;
use crate::cli::time::span;
use crate::client::{Client, segment};
use crate::print::{self, clock, done, style, table::Columns};
use crate::report::Failure;

const TOKENS: &str = "/api/v1/tokens";

/// Does what is asked for.
pub(crate) async fn token(client: &Client, action: TokenAction) -> Result<(), Failure> {
    match action {
        TokenAction::List { json } => list(client, json).await,
        TokenAction::Create { name, scopes, expires, user, json } => {
            let lasts_s = expires.0.map(|lasts| u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
            let token = NewToken { name, scopes, lasts_s, user };
            let created: CreatedToken = client.call(Method::POST, TOKENS, Some(&token)).await?;
            if json {
                return print::json(&created);
            }
            anstream::println!("{}", style::strong(&created.token));
            let until = created.expires_ms.map_or("until it is revoked".to_owned(), |at_ms| {
                format!("until {}", clock::local(at_ms))
            });
            anstream::eprintln!("{}", style::faint(format!("good {until}; shown only this once")));
            Ok(())
        }
        TokenAction::Revoke { name } => {
            let path = format!("{TOKENS}/{}", segment(&name));
            client.call::<IgnoredAny>(Method::DELETE, &path, None::<&()>).await?;
            done(&format!("{name} is worth nothing any more"));
            Ok(())
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let tokens: Vec<Token> = client.get(TOKENS).await?;
    if json {
        return print::json(&tokens);
    }
    if tokens.is_empty() {
        anstream::eprintln!(
            "there is no token; `onebox token create NAME --scope deploy` makes one"
        );
        return Ok(());
    }
    let now_ms = clock::now_ms();
    let mut table = Columns::new(&["token", "user", "scopes", "expires", "used"]);
    for token in &tokens {
        let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
        let expires = match token.expires_ms {
            None => "never".to_owned(),
            Some(at_ms) if at_ms <= now_ms => "expired".to_owned(),
            Some(at_ms) => clock::day(at_ms),
        };
        let used = token.used_ms.map_or("never".to_owned(), |at_ms| clock::ago(at_ms, now_ms));
        table.row([token.name.clone(), token.user.clone(), scopes.join(", "), expires, used]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}

/// How long a token is good; `None`: until it is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry(Option<Duration>);

impl std::str::FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        match span(text) {
            Ok(lasts) => Ok(Self(Some(lasts))),
            Err(_) => Err("write it as 90d, 12h, or never".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_days_hours_or_for_ever() {
        let lasts = |text: &str| text.parse::<Expiry>().map(|expiry| expiry.0);
        assert_eq!(lasts("90d"), Ok(Some(Duration::from_secs(90 * 86_400))));
        assert_eq!(lasts("12h"), Ok(Some(Duration::from_secs(12 * 3600))));
        assert_eq!(lasts("never"), Ok(None));
        for wrong in ["", "0d", "-1d", "-1h", "soon", "90"] {
            lasts(wrong).unwrap_err();
        }
    }
}
