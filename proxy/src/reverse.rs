//! What is special to a reverse proxy: the site that a host names, and the origin behind it.

use std::collections::HashMap;

use crate::config::Site;
use crate::error::FetchError;
use crate::upstream::Origin;

/// All sites, found by host.
pub(crate) struct Sites {
    origins: Vec<Origin>,
    exact: HashMap<String, usize>,
    /// Suffixes with their leading dot, the longest first.
    wildcards: Vec<(String, usize)>,
    any: Option<usize>,
}

impl Sites {
    pub(crate) fn new(sites: Vec<Site>) -> Sites {
        let mut found =
            Sites { origins: Vec::new(), exact: HashMap::new(), wildcards: Vec::new(), any: None };
        for site in sites {
            let index = found.origins.len();
            for host in site.hosts {
                if host == "*" {
                    found.any.get_or_insert(index);
                } else if let Some(suffix) = host.strip_prefix('*') {
                    found.wildcards.push((suffix.to_owned(), index));
                } else {
                    found.exact.entry(host).or_insert(index);
                }
            }
            found.origins.push(site.origin);
        }
        found.wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        found
    }

    /// All origins, in the order of their ids.
    pub(crate) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The origin of a host (lower case, without port). An unknown host is refused, never given to a default tenant.
    pub(crate) fn origin(&self, host: &str) -> Result<&Origin, FetchError> {
        let wildcard = || self.wildcards.iter().find(|(suffix, _)| host.ends_with(suffix.as_str()));
        self.exact
            .get(host)
            .copied()
            .or_else(|| wildcard().map(|(_, index)| *index))
            .or(self.any)
            .map(|index| &self.origins[index])
            .ok_or_else(|| FetchError::UnknownHost { host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_wins_and_strangers_are_refused() {
        let site = |id: usize, hosts: &[&str]| Site {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            origin: Origin::parse(id, &format!("http://127.0.0.1:{}", 8000 + id)).expect("an origin"),
        };
        let sites = Sites::new(vec![
            site(0, &["*.example.org"]),
            site(1, &["news.example.org", "example.org"]),
            site(2, &["*.deep.example.org"]),
        ]);
        let id = |host: &str| sites.origin(host).ok().map(|origin| origin.id);
        assert_eq!(id("news.example.org"), Some(1));
        assert_eq!(id("other.example.org"), Some(0));
        assert_eq!(id("a.deep.example.org"), Some(2));
        assert_eq!(id("example.com"), None);
        assert_eq!(id("notexample.org"), None);
    }
}
