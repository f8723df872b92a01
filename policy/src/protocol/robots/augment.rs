//! Our lines in a site's own robots.txt: between markers, and nothing of the site's is touched.
//!
//! What is said to everybody goes before the first line, groups go after the last one, each between lines that say so. The
//! site's text in between stays as it is, byte for byte, and so does what it says to anybody:
//!
//! - A group that names a crawler takes it out of `*`. Where ours names one that the site's text does not, it repeats
//!   what the site says to `*`.
//! - Agents at the end of the site's text that have no rule yet would join our first group; a rule that changes nothing
//!   ends their list.

use super::lines::BYTE_ORDER_MARK;
use super::publish::{check_length, is_agent, write_end_of_agents, write_globals};
use super::{Directive, Kind, PublishError, RobotsTxt, Scope, Section, product};

const BEGIN: &[u8] = b"# BEGIN byline";
/// The site's text had no end of line at its end.
const BEGIN_WITH_BREAK: &[u8] = b"# BEGIN byline (with the line break before)";
const END: &[u8] = b"# END byline";

/// Lines for some crawlers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addition {
    /// For whom.
    pub audience: Audience,
    /// What is said to them besides what the site says.
    pub directives: Vec<Directive>,
}

/// Whom lines are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audience {
    /// `*`, and every crawler that is named anywhere.
    Everyone,
    /// The crawlers of these tokens.
    Agents(Vec<String>),
}

/// A site's text with our lines in it, instead of those that an earlier call has put there. Without any lines of ours it is
/// the site's own text.
///
/// Decisions about the site's own rules stay as they are, for everybody; ours are merged with them (RFC 9309 §2.2.1: the
/// longest rule wins, then what allows).
///
/// # Errors
/// What cannot be written, and a result longer than [`super::BYTES_MAX`], of which crawlers would not read our part.
pub fn augment(text: &[u8], globals: &[Directive], additions: &[Addition]) -> Result<Vec<u8>, PublishError> {
    let own = without_additions(text);
    let sections = sections(&RobotsTxt::parse(&own), additions)?;
    if globals.is_empty() && sections.is_empty() {
        return Ok(own);
    }
    let (mark, body) = split_mark(&own);
    let mut out = mark.to_vec();
    if !globals.is_empty() {
        write_line(BEGIN, &mut out);
        write_globals(globals, &mut out)?;
        write_line(END, &mut out);
    }
    out.extend_from_slice(body);
    if !sections.is_empty() {
        if body.is_empty() || body.ends_with(b"\n") || body.ends_with(b"\r") {
            write_line(BEGIN, &mut out);
        } else {
            out.push(b'\n');
            write_line(BEGIN_WITH_BREAK, &mut out);
        }
        if ends_in_agents(&RobotsTxt::parse(&own)) {
            write_end_of_agents(&mut out);
        }
        for section in &sections {
            section.write(&mut out);
        }
        write_line(END, &mut out);
    }
    check_length(&out)?;
    Ok(out)
}

/// The site's own text, out of one with our lines in it. A marker without its counterpart is the site's.
pub fn without_additions(text: &[u8]) -> Vec<u8> {
    let (mark, body) = split_mark(text);
    let mut out = mark.to_vec();
    // Where markers that may begin a block stand in `out`, and whether the break before them is ours. Each end belongs to
    // the last of them, so that of what is left no end follows a beginning, and doing it again changes nothing.
    let mut begins: Vec<(usize, bool)> = Vec::new();
    let mut lines = body.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        // What ends with a lone CR has the rest of this piece as its next line.
        let content_at = content.iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
        match &content[content_at..] {
            BEGIN => begins.push((out.len() + content_at, false)),
            BEGIN_WITH_BREAK => begins.push((out.len() + content_at, true)),
            END => {
                if let Some((at, with_break)) = begins.pop() {
                    out.truncate(at);
                    // What somebody wrote below our lines must not be joined to what is above them.
                    if with_break && lines.peek().is_none() {
                        strip_break(&mut out);
                    }
                    continue;
                }
            }
            _ => {}
        }
        out.extend_from_slice(line);
    }
    out
}

fn strip_break(out: &mut Vec<u8>) {
    for end in [b'\n', b'\r'] {
        if out.last() == Some(&end) {
            out.pop();
        }
    }
}

fn split_mark(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 })
}

fn write_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Whether the text ends with a group that has no rule.
fn ends_in_agents(own: &RobotsTxt) -> bool {
    let Some(last) = own.lines().last() else { return false };
    let has_rule = |kind| matches!(kind, Kind::Allow | Kind::Disallow);
    last.scope != Scope::Global && !own.lines().any(|line| line.scope == last.scope && has_rule(line.kind))
}

/// Our groups: agents that are told the same are in one.
fn sections(own: &RobotsTxt, additions: &[Addition]) -> Result<Vec<Section>, PublishError> {
    let agents = agents(own, additions)?;
    let inherited: Vec<Directive> = {
        let everybody = own.agent("*");
        let rules = own.lines().filter_map(|line| match line.kind {
            Kind::Allow | Kind::Disallow => Some((line.number, line)),
            _ => None,
        });
        let said: std::collections::HashMap<u32, _> = rules.collect();
        let mut lines: Vec<(u32, Directive)> = Vec::new();
        for rule in everybody.rules() {
            let line = &said[&rule.line];
            let key = if rule.allow { "Allow" } else { "Disallow" };
            lines.push((rule.line, Directive::taken_over(key, line.value)));
        }
        for extension in everybody.all_extensions().filter(|extension| extension.key != "sitemap") {
            lines.push((extension.line, Directive::taken_over(&extension.key, &extension.value)));
        }
        lines.sort_by_key(|(line, _)| *line);
        lines.into_iter().map(|(_, directive)| directive).collect()
    };
    let mut sections: Vec<(Vec<String>, Vec<Directive>)> = Vec::new();
    for agent in agents {
        let is_shadowing = agent != "*" && !own.names(&agent);
        let mut directives = if is_shadowing { inherited.clone() } else { Vec::new() };
        for addition in additions {
            if is_for(&addition.audience, &agent, is_shadowing) {
                let new = addition.directives.iter().filter(|directive| !directives.contains(directive));
                let new: Vec<Directive> = new.cloned().collect();
                directives.extend(new);
            }
        }
        match sections.iter_mut().find(|(_, others)| *others == directives) {
            Some((agents, _)) => agents.push(agent),
            None => sections.push((vec![agent], directives)),
        }
    }
    let written = sections.into_iter().filter(|(_, directives)| !directives.is_empty());
    written.map(|(agents, directives)| Section::new(agents, directives)).collect()
}

/// Every agent that an addition is for, each once.
fn agents(own: &RobotsTxt, additions: &[Addition]) -> Result<Vec<String>, PublishError> {
    let mut agents: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut add = |agent: &str, agents: &mut Vec<String>| {
        if seen.insert(product(agent.as_bytes()).to_ascii_lowercase()) {
            agents.push(agent.to_owned());
        }
    };
    for addition in additions.iter().filter(|addition| !addition.directives.is_empty()) {
        match &addition.audience {
            Audience::Agents(tokens) => {
                for token in tokens {
                    if !is_agent(token) {
                        return Err(PublishError::Agent(token.clone()));
                    }
                    add(token, &mut agents);
                }
            }
            Audience::Everyone => {
                add("*", &mut agents);
                // A name that could not be written is nobody's: no crawler has such a token.
                for agent in own.agents().iter().filter(|agent| is_agent(agent)) {
                    add(agent, &mut agents);
                }
            }
        }
    }
    Ok(agents)
}

/// Whether an agent is told an addition; one that our group takes out of `*` hears what is said to `*`, too.
fn is_for(audience: &Audience, agent: &str, is_shadowing: bool) -> bool {
    match audience {
        Audience::Everyone => true,
        Audience::Agents(tokens) => tokens.iter().any(|token| {
            let same = product(token.as_bytes()).eq_ignore_ascii_case(product(agent.as_bytes()));
            same || is_shadowing && token == "*"
        }),
    }
}
