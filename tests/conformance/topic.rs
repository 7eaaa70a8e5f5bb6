//! Topic names, topic filters and subscription options as the standard allows them.

use crate::wire::show;

/// §4.7.1 and §4.7.3.
pub fn check_topic(topic: &[u8]) -> Result<(), String> {
    if topic.is_empty() || topic.iter().any(|byte| b"#+".contains(byte)) {
        return Err(format!("topic name \"{}\"", show(topic)));
    }
    Ok(())
}

/// §4.7.1 and §4.8.2.
pub fn check_filter(filter: &[u8]) -> Result<(), String> {
    let bad = || Err(format!("topic filter \"{}\"", show(filter)));
    let mut filter_part = filter;
    if let Some(rest) = filter.strip_prefix(b"$share/") {
        let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
            return bad();
        };
        if slash == 0 || rest[..slash].iter().any(|byte| b"#+".contains(byte)) {
            return bad();
        }
        filter_part = &rest[slash + 1..];
    }
    if filter_part.is_empty() {
        return bad();
    }
    let levels: Vec<&[u8]> = filter_part.split(|&byte| byte == b'/').collect();
    for (index, level) in levels.iter().enumerate() {
        let wild = level.iter().any(|byte| b"#+".contains(byte));
        if wild && (level.len() > 1 || (level == b"#" && index + 1 < levels.len())) {
            return bad();
        }
    }
    Ok(())
}

/// The options byte as the table writes it: `@1+nl+rap+rh2`.
pub fn options_text(options: u8) -> String {
    let mut text = format!("@{}", options & 3);
    if options & 4 != 0 {
        text.push_str("+nl");
    }
    if options & 8 != 0 {
        text.push_str("+rap");
    }
    if options >> 4 & 3 != 0 {
        text.push_str(&format!("+rh{}", options >> 4 & 3));
    }
    text
}
