//! Straightens Criterion's index page: where an executor lacks a worker count, Criterion moves the links of the others one
//! column to the left.

use std::mem;

/// The page with each link under the heading of its executor. What is not such a table stays as it is.
pub(super) fn straighten(page: &str) -> String {
    let mut straight = String::with_capacity(page.len());
    // The headings of the table, the rows that have begun in it, and the cells of the last of them.
    let (mut headings, mut rows, mut cells) = (Vec::new(), 0, Vec::new());
    for line in page.split_inclusive('\n') {
        let trimmed = line.trim();
        match trimmed {
            "<table>" => (headings, rows) = (Vec::new(), 0),
            "<tr>" => rows += 1,
            "</tr>" => straight += &row(&headings, &mem::take(&mut cells)),
            _ if trimmed.starts_with("<td>") => {
                cells.push(line);
                continue;
            }
            // Those of the first row; each further row has one of its own.
            _ if rows == 1 => headings.extend(text(trimmed, "th").filter(|heading| !heading.is_empty())),
            _ => {}
        }
        straight += line;
    }
    straight + &cells.concat()
}

/// The cells of a row, with an empty one under each heading that none of them belongs to.
fn row(headings: &[&str], cells: &[&str]) -> String {
    // `group/executor/count`
    let known = cells.iter().map(|cell| text(cell.trim(), "td")?.rsplit('/').nth(1));
    let known = known.collect::<Option<Vec<_>>>();
    let known = known.filter(|known| known.iter().all(|name| headings.contains(name)));
    let (Some(known), Some(first)) = (known, cells.first()) else { return cells.concat() };
    let indent = &first[..first.len() - first.trim_start().len()];
    let place = |heading| known.iter().position(|name| name == heading);
    let cell = |heading| place(heading).map_or(format!("{indent}<td></td>\n"), |place| cells[place].into());
    headings.iter().map(cell).collect()
}

/// The text of an element that stands alone on its line, without the link around it.
fn text<'a>(line: &'a str, element: &str) -> Option<&'a str> {
    let inner = line.strip_prefix(&format!("<{element}>"))?.strip_suffix(&format!("</{element}>"))?;
    Some(inner.strip_suffix("</a>").map_or(inner, |link| link.rsplit('>').next().unwrap_or(link)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<ul>
  <table>
    <tr>
      <th></th>
      <th><a href="../s/processes/report/index.html">processes</a></th>
      <th>serial</th>
      <th>threads</th>
    </tr>
    <tr>
      <th>1</th>
      <td><a href="../s/processes/1/report/index.html">s/processes/1</a></td>
      <td>s/serial/1</td>
      <td>s/threads/1</td>
    </tr>
    <tr>
      <th>2</th>
      <td>s/processes/2</td>
      <td><a href="../s/threads/2/report/index.html">s/threads/2</a></td>
    </tr>
  </table>
</ul>
"#;

    #[test]
    fn a_link_stands_under_its_executor() {
        let straight = straighten(PAGE);
        let gap = "      <td>s/processes/2</td>\n      <td></td>\n      <td><a href";
        assert!(straight.contains(gap), "{straight}");
        // Nothing else has changed, and nothing does the second time.
        assert_eq!(straight.replace("      <td></td>\n", ""), PAGE);
        assert_eq!(straighten(&straight), straight);
    }

    #[test]
    fn another_page_stays_as_it_is() {
        for page in ["", "<td>a</td>\n", "<table>\n<tr>\n<td>x</td>\n</tr>\n</table>", "no line end"] {
            assert_eq!(straighten(page), page);
        }
    }
}
