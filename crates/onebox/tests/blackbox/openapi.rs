//! The API is what its own document says: schemathesis makes requests of it, right ones and wrong ones.

use std::path::Path;
use std::process::Command;

use crate::harness::{SiteFolder, TestBox, environment_of, run};

/// What schemathesis must not do: it would wait for the end of a stream, the appliance would end, or its own token be worth nothing.
const LEFT_OUT: [&str; 6] =
    ["events", "logs", "shutdown", "change-role", "remove-user", "revoke-token"];
/// What is looked at in each answer: no 5xx, and nothing that the document does not say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[test]
fn every_answer_of_the_api_is_one_that_its_document_knows() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let scopes = ["metrics", "read", "deploy", "operate", "admin"].map(|scope| ["--scope", scope]);
    let mut arguments = vec!["token", "create", "schemathesis", "--json"];
    arguments.extend(scopes.iter().flatten());
    let token = appliance.cli(&arguments).ok().json();
    // What is right and wrong by the document, then three requests of its own for each operation.
    for phase in ["coverage", "fuzzing"] {
        let told = run(schemathesis(&appliance, phase, token["token"].as_str().unwrap())).ok();
        let has_passed = !told.stdout.contains(" 0 passed") && told.stdout.contains(" passed");
        assert!(has_passed, "{}", told.all());
    }
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}

fn schemathesis(appliance: &TestBox, phase: &str, token: &str) -> Command {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients");
    let mut program = Command::new(environment_of("schemathesis").join("bin/schemathesis"));
    program
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", appliance.admin.unwrap()))
        .args(["--header", &format!("Authorization:Bearer {token}")])
        .args(["--phases", phase, "--checks", CHECKS])
        .args(["--max-examples", "3", "--generation-deterministic", "--no-shrink", "--no-color"])
        .args(["--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off"])
        .env("SCHEMATHESIS_HOOKS", clients.join("schemathesis_hooks.py"))
        .current_dir(appliance.state());
    for operation in LEFT_OUT {
        program.args(["--exclude-operation-id", operation]);
    }
    program
}
