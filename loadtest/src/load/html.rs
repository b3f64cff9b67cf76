//! The report: one page with plots drawn as SVG, for light and dark, wide and narrow, without network or script.

pub mod chart;
mod plot;

use std::fmt::Write;

use super::compare::Compared;
use super::summary::{Document, time};
use super::totals::Failure;
use plot::{Line, Plot, Scale};

/// A page with the results of one or several runs; `extra` is put before the plots.
pub fn page(title: &str, runs: &[(String, &Document)], extra: &str) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    if let Some((_, first)) = runs.first() {
        // Writing to a string does not fail.
        let _ = writeln!(body, "<p class=\"command\"><code>{}</code></p>", escape(&first.command.join(" ")));
    }
    body.push_str(extra);
    body.push_str(&table(runs));
    body.push_str(&findings(runs));
    body.push_str(&legend(runs));
    body.push_str(&percentile_plot(runs));
    body.push_str(&series_plot("Requests per second over time", "requests/s", runs, |point| {
        point.requests_per_second
    }));
    body.push_str(&series_plot("p99 latency over time", "ms", runs, |point| point.p99_us / 1e3));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – ringway-load</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n{body}<footer>ringway-load {}</footer>\n</main>\n</body>\n</html>\n",
        escape(title),
        env!("CARGO_PKG_VERSION")
    )
}

pub fn paragraph(text: &str) -> String {
    format!("<p class=\"verdict\">{}</p>\n", escape(text))
}

pub fn preformatted(text: &str) -> String {
    format!("<div class=\"scroll\"><pre>{}</pre></div>\n", escape(text))
}

/// Bars of the medians of a comparison, with the spread of the rounds.
pub fn bars(compared: &[Compared]) -> String {
    let rates: Vec<_> = compared.iter().map(|one| (one.name.as_str(), one.requests_per_second)).collect();
    let p99s: Vec<_> = compared
        .iter()
        .map(|one| {
            let ms = |us: f64| us / 1e3;
            let p99 = one.p99_us;
            let spread =
                super::compare::Spread { median: ms(p99.median), min: ms(p99.min), max: ms(p99.max) };
            (one.name.as_str(), spread)
        })
        .collect();
    format!(
        "<section class=\"plots\">{}{}</section>\n",
        plot::bars("Requests per second: median, and spread of the rounds", &rates),
        plot::bars("p99 latency in ms: median, and spread of the rounds", &p99s)
    )
}

/// Thresholds, errors and warnings; where there are many, folded.
fn findings(runs: &[(String, &Document)]) -> String {
    const SHOWN_MAX: usize = 3;
    let mut lines = Vec::new();
    for (name, document) in runs {
        let name =
            if runs.len() > 1 { format!("<strong>{}:</strong> ", escape(name)) } else { String::new() };
        for verdict in &document.thresholds {
            let (class, word) = if verdict.holds { ("holds", "holds") } else { ("warning", "broken") };
            lines.push(format!(
                "<p class=\"{class}\">{name}threshold {} {word}: {}, expected {}</p>\n",
                escape(&verdict.name),
                escape(&verdict.found),
                escape(&verdict.expected)
            ));
        }
        for failure in Failure::ALL {
            if let Some(count) = document.errors.get(failure.name()) {
                lines.push(format!("<p class=\"warning\">{name}{count} {}</p>\n", escape(failure.text())));
            }
        }
        for warning in &document.warnings {
            lines.push(format!("<p class=\"warning\">{name}{}</p>\n", escape(warning)));
        }
    }
    let count = lines.len();
    if count <= SHOWN_MAX {
        return lines.concat();
    }
    format!(
        "<details><summary>{count} errors, warnings and thresholds</summary>\n{}</details>\n",
        lines.concat()
    )
}

fn table(runs: &[(String, &Document)]) -> String {
    // A column that is empty for everybody takes room from the others.
    let with_cpu = runs.iter().any(|(_, document)| document.target_process.is_some());
    let cpu_head = if with_cpu { "<th>target µs CPU</th>" } else { "" };
    let mut out = format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th></th><th>requests</th><th>requests/s</th><th>errors</th>\
         <th>missed</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th>{cpu_head}\
         </tr></thead>\n<tbody>\n",
    );
    for (name, document) in runs {
        let (summary, latency) = (&document.summary, &document.latency);
        let _ = write!(
            out,
            "<tr><th>{}</th><td>{}</td><td>{:.0}</td><td>{}</td><td>{}</td>",
            escape(name),
            summary.requests,
            summary.requests_per_second,
            summary.errors,
            summary.missed
        );
        let columns = [
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
            latency.p9999_us,
            latency.max_us,
        ];
        for value in columns {
            let _ = write!(out, "<td>{}</td>", time(value));
        }
        if with_cpu {
            let cpu = document.target_process.map(|used| format!("{:.2}", used.us_per_request));
            let _ = write!(out, "<td>{}</td>", cpu.as_deref().unwrap_or("–"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn legend(runs: &[(String, &Document)]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let mut out = String::from("<p class=\"legend\">");
    for (position, (name, _)) in runs.iter().enumerate() {
        let _ = write!(
            out,
            "<span class=\"key\"><i class=\"b{}{}\"></i>{}</span> ",
            position % COLORS,
            if position / COLORS % 2 == 1 { " dashed" } else { "" },
            escape(name)
        );
    }
    out.push_str("</p>\n");
    out
}

/// Colors of lines in the style below.
const COLORS: usize = 6;

fn percentile_plot(runs: &[(String, &Document)]) -> String {
    let lines = runs
        .iter()
        .map(|(_, document)| {
            let point = |&(quantile, us): &(f64, f64)| (1.0 / (1.0 - quantile).max(1e-9), us / 1e3);
            document.percentiles.iter().map(point).collect()
        })
        .map(|points| Line { points })
        .collect();
    Plot { title: "Latency by percentile", unit: "ms", x: Scale::Percentile, y: Scale::Log, lines }.svg()
}

fn series_plot(
    title: &str,
    unit: &str,
    runs: &[(String, &Document)],
    value: impl Fn(&super::summary::SeriesPoint) -> f64,
) -> String {
    let lines = runs
        .iter()
        .map(|(_, document)| Line {
            points: document.series.iter().map(|point| (point.seconds, value(point))).collect(),
        })
        .collect();
    Plot { title, unit, x: Scale::Seconds, y: Scale::Linear, lines }.svg()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
:root{--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--line:#d5dae0;--soft:#f3f5f7;
--c0:#0b62c4;--c1:#c2410c;--c2:#0f7b3f;--c3:#8b2fc9;--c4:#a16207;--c5:#0e7490}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--dim:#9aa5b1;--line:#353c45;--soft:#1e2329;
--c0:#6cb2ff;--c1:#ff9e64;--c2:#6fdc8c;--c3:#d2a8ff;--c4:#f2cc60;--c5:#56d4dd}}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.05rem;margin:1.5rem 0 .3rem}
.command{overflow-wrap:anywhere;color:var(--dim)}.verdict{font-size:1.1rem}
.warning{border-left:4px solid var(--c1);padding-left:.7rem}.holds{border-left:4px solid var(--c2);padding-left:.7rem}details{margin:1rem 0}summary{cursor:pointer}
.scroll{overflow-x:auto}pre{background:var(--soft);padding:.7rem;margin:.5rem 0;width:max-content;min-width:calc(100% - 1.4rem)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap;font-size:.9rem}
td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line)}th:first-child{text-align:left}
figure{margin:0}svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font:13px system-ui,sans-serif}svg text.name{fill:var(--fg)}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--dim);stroke-width:1}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}
.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}
.whisker{stroke:var(--fg);stroke-width:2}
.legend{margin:1rem 0 0}.key{margin-right:1rem;white-space:nowrap}.key i{display:inline-block;width:1rem;height:.25rem;margin-right:.35rem;vertical-align:middle}
.b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}.b4{background:var(--c4)}.b5{background:var(--c5)}
footer{margin:2rem 0 1rem;color:var(--dim);font-size:.9rem}
.dashed{stroke-dasharray:6 4}i.dashed{background-image:linear-gradient(90deg,transparent 60%,var(--bg) 60%);background-size:.4rem}
.narrow{display:none}@media (max-width:40rem){.wide{display:none}.narrow{display:block}main{padding:.7rem}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let page = page("<script>", &[], &paragraph("a & b"));
        assert!(!page.contains("<script"));
        assert!(page.contains("a &amp; b"));
    }

    #[test]
    fn a_page_needs_no_network() {
        let page = page("x", &[], "");
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
