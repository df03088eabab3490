//! The commands of a page.

/// Words of a shell line with single and double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.trim().chars() {
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The words after `advmod` of every command: indented by four spaces, after a `$`, or a step of a CI job; a `\` or a folded
/// step goes on in the next lines, and `M="…"` gives the later `$M` its words.
pub(super) fn of(page: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = page.lines().collect();
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut commands = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some((name, value)) = line.strip_prefix("    ").and_then(|line| line.split_once("=\""))
            && name.chars().all(char::is_uppercase)
        {
            variables.push((format!("${name} "), format!("{} ", value.trim_end_matches('"'))));
        }
        let trimmed = line.trim_start();
        let job_step = trimmed.strip_prefix("- run: ").or_else(|| trimmed.strip_prefix("- "));
        let mut command = if line.starts_with("    advmod ") || line.starts_with("$ advmod ") {
            line.trim_start_matches('$').trim().to_owned()
        } else if let Some(step) = job_step.filter(|step| line.starts_with("  ") && step.starts_with("advmod ")) {
            step.to_owned()
        } else if trimmed == "- run: >" {
            let indent = |line: &str| line.len() - line.trim_start().len();
            let folded = lines[at + 1..].iter().take_while(|next| indent(next) > indent(line));
            folded.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
        } else {
            continue;
        };
        let mut rest = lines[at + 1..].iter();
        while let Some(begun) = command.strip_suffix('\\') {
            command = format!("{begun}{}", rest.next().unwrap().trim());
        }
        for (name, value) in &variables {
            command = command.replace(name, value);
        }
        commands.push(words(&command).split_off(1));
    }
    commands
}

/// The same command on less.
pub(super) fn shrunk(command: &[String]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in command {
        let less = match words.last().map_or("", String::as_str) {
            "--samples" | "--cka" | "--first" if word.contains(',') => "20,25",
            "--samples" | "--cka" | "--first" => "25",
            "--epochs" | "--scratch-epochs" => "1",
            "--k" if word.contains(',') => "3,5",
            _ if word == "/usr/share/datasets/fashion-mnist" => "fashion-mnist",
            _ => word,
        };
        words.push(less.replace("steps=100", "steps=3").replace("restarts=5", "restarts=2"));
    }
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let takes_samples = match words[0].as_str() {
        // A run that is resumed has its own plan.
        "audit" => !has("--resume") && !has("--first"),
        "curve" | "labels" | "similarity" | "dynamics" | "prune" => true,
        _ => false,
    };
    if takes_samples && !has("--samples") {
        words.extend(["--samples", "25"].map(str::to_owned));
    }
    words
}

/// What follows `make` on a line of its own or in backquotes.
pub(super) fn make_targets(page: &str) -> Vec<String> {
    let line = page.lines().filter_map(|line| line.strip_prefix("    make "));
    let quoted = page.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("make "));
    line.chain(quoted).map(|rest| rest.split_whitespace().next().unwrap().to_owned()).collect()
}
