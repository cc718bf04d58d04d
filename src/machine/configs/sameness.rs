//! Whether two texts of a setting mean the same: brokers give back what they have made of a text.
//! Settings of topics are numbers, booleans, lists and words; a text tells by itself which of them it is.

/// Whether the texts mean the same, for any setting of a topic.
pub fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim(), other.trim());
    if one == other {
        return true;
    }
    match (one.parse::<i64>(), other.parse::<i64>()) {
        (Ok(one), Ok(other)) => return one == other,
        (Err(_), Err(_)) => {}
        // A number is never a word, but may be written with a point: that is for the next lines.
        _ if is_number(one) && is_number(other) => {}
        _ => return false,
    }
    if is_number(one) && is_number(other) {
        return one.parse::<f64>().ok() == other.parse::<f64>().ok();
    }
    if let (Some(one), Some(other)) = (boolean(one), boolean(other)) {
        return one == other;
    }
    match one.contains(',') || other.contains(',') {
        true => members(one) == members(other),
        false => false,
    }
}

fn is_number(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && text.parse::<f64>().is_ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// What a list holds: each value once, in whatever order.
fn members(text: &str) -> std::collections::BTreeSet<&str> {
    text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        let same = [
            ("604800000", "00604800000"),
            ("604800000", " 604800000 "),
            ("1", "+1"),
            ("-1", "-01"),
            ("0.5", "0.50"),
            ("0.5", ".5"),
            ("1.0", "1"),
            ("0.001", "1e-3"),
            ("false", "FALSE"),
            ("True", "true"),
            ("compact", "compact,compact"),
            ("compact,delete", "delete, compact"),
            ("compact,delete", "compact,delete,"),
            ("producer", "producer"),
            ("", " "),
        ];
        for (one, other) in same {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
        let different = [
            ("1", "2"),
            ("1", "10"),
            ("1", "-1"),
            ("0.5", "0.51"),
            ("9007199254740993", "9007199254740992"),
            ("true", "false"),
            ("true", "1"),
            ("compact", "delete"),
            ("compact", "compact,delete"),
            ("", "0"),
            ("", "compact"),
            ("gzip", "zstd"),
            ("1", "one"),
            ("infinity", "inf"),
        ];
        for (one, other) in different {
            assert!(!is_same(one, other) && !is_same(other, one), "{one} {other}");
        }
    }
}
