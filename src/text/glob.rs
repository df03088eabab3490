//! Patterns of names.

/// Shell-like match of a whole name: `*` is any run of characters, `?` any one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the characters after the last `*` turn out not to match.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == text[t]) && pattern[p] != b'*' {
            (p, t) = (p + 1, t + 1);
        } else if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p, t));
            p += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("layer1.*", "layer1.0", true),
            ("layer1.*", "layer1.0.conv1", true),
            ("layer?.0", "layer3.0", true),
            ("layer?.0", "layer3.0.conv1", false),
            ("*conv*", "layer3.0.conv1", true),
            ("*.conv2", "layer3.0.conv1", false),
            ("conv1", "conv1", true),
            ("conv1", "xconv1", false),
            ("*", "", true),
            ("pgd", "pgd-2", false),
            ("pgd*", "pgd-2", true),
            ("*-2", "pgd-2", true),
            ("p*d", "pgd", true),
            ("pgd*d", "pgd", false),
            ("*g*", "pgd", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
