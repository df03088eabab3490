//! Text out of templates, which are part of the program and tested: they cannot fail.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};

/// Fills in one of some templates, which include each other by their names. How values are escaped is the environment's.
pub(super) fn fill(
    mut environment: Environment<'static>,
    templates: &[(&'static str, &'static str)],
    name: &str,
    content: Value,
) -> Vec<u8> {
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual signs"));
    for (name, source) in templates {
        environment.add_template(name, source).expect("a template of the program");
    }
    let template = environment.get_template(name).expect("it was added");
    template.render(content).expect("a template of the program").into_bytes()
}
