//! The rules for pages of documentation: each has one title, and can be found.

use crate::Violation;

/// The page that, besides the README, may be the one that leads to another.
const MAP: &str = "docs/ARCHITECTURE.md";

/// A file of documentation.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All that is wrong with the pages of `docs/`, given the README.
pub(crate) fn violations(pages: &[Page], readme: &Page) -> Vec<Violation> {
    let map = pages.iter().find(|page| page.path == MAP);
    let mut found = Vec::new();
    for page in pages {
        let titles = titles(&page.text);
        if titles != 1 {
            let what = format!("{titles} titles (lines that begin with \"# \"), expected one");
            found.push(Violation::new(&page.path, 0, what));
        }
        let name = page.path.trim_start_matches("docs/");
        let by_readme = links_to(&readme.text, &page.path);
        if !by_readme && !map.is_some_and(|map| links_to(&map.text, name)) {
            let what = format!("neither README.md nor {MAP} links to it");
            found.push(Violation::new(&page.path, 0, what));
        }
    }
    found
}

/// Lines that are a title, outside of examples, where `#` begins a comment.
fn titles(text: &str) -> usize {
    let mut in_example = false;
    let is_title = |line: &&str| {
        in_example ^= line.trim_start().starts_with("```");
        !in_example && line.starts_with("# ")
    };
    text.lines().filter(is_title).count()
}

fn links_to(text: &str, path: &str) -> bool {
    [")", "#"].iter().any(|end| text.contains(&format!("]({path}{end}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pages: &[(&str, &str)], readme: &str) -> Vec<String> {
        let page = |&(path, text): &(&str, &str)| Page { path: path.into(), text: text.into() };
        let pages: Vec<_> = pages.iter().map(page).collect();
        let found = violations(&pages, &page(&("README.md", readme)));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_has_one_title() {
        let readme = "[a](docs/A.md)";
        assert!(told(&[("docs/A.md", "# A\n## b\n```\n# c\n```\n")], readme).is_empty());
        assert!(told(&[("docs/A.md", "## b\n")], readme)[0].starts_with("docs/A.md: 0 titles"));
        assert!(told(&[("docs/A.md", "# A\n# B\n")], readme)[0].contains(": 2 titles"));
    }

    #[test]
    fn a_page_is_linked() {
        let told = |readme, map| told(&[("docs/A.md", "# A\n"), (MAP, map)], readme);
        let map = "# Map\n";
        assert!(told("[m](docs/ARCHITECTURE.md), [a](docs/A.md#part)", map).is_empty());
        assert!(told("[m](docs/ARCHITECTURE.md)", "# Map\n[a](A.md)").is_empty());
        let lost = ["docs/A.md: neither README.md nor docs/ARCHITECTURE.md links to it"];
        assert_eq!(told("[m](docs/ARCHITECTURE.md), see docs/A.md", map), lost);
    }
}
