//! The numbers as tables in Markdown, as they stand in the README.

use super::bridge::BridgeReport;
use super::daemon::DaemonReport;
use super::many::{self, ManyReport};
use super::memory::MemoryReport;
use super::proxy::{ProxyReport, Row};

pub(super) fn proxy(report: &ProxyReport) {
    let mut counts: Vec<usize> = report.rows.iter().map(|row| row.connections).collect();
    counts.dedup();
    println!("tools/call with a session, requests per second\n");
    println!("| connections | contender | req/s | to nginx | p50 µs | p99 µs | CPU µs/req | to nginx |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for connections in counts {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.connections == connections).collect();
        let nginx = rows.iter().find(|row| row.name == "nginx");
        for row in &rows {
            let to_nginx = ratio(Some(row.requests_per_second), nginx.map(|nginx| nginx.requests_per_second));
            let cpu = row.cpu_us_per_request.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1}"));
            let cpu_to_nginx =
                ratio(row.cpu_us_per_request, nginx.and_then(|nginx| nginx.cpu_us_per_request));
            println!(
                "| {connections} | {} | {:.0} | {to_nginx} | {:.0} | {:.0} | {cpu} | {cpu_to_nginx} |",
                row.name, row.requests_per_second, row.p50_us, row.p99_us
            );
        }
    }
    println!();
    let one = |name: &str| report.rows.iter().find(|row| row.connections == 1 && row.name == name);
    if let Some(direct) = one("direct") {
        println!("latency added over direct at 1 connection\n");
        println!("| | p50 µs | p99 µs |");
        println!("|---|---:|---:|");
        for row in report.rows.iter().filter(|row| row.connections == 1 && row.name != "direct") {
            println!(
                "| {} | {:.0} | {:.0} |",
                row.name,
                row.p50_us - direct.p50_us,
                row.p99_us - direct.p99_us
            );
        }
        println!();
    }
}

fn ratio(number: Option<f64>, to: Option<f64>) -> String {
    match number.zip(to) {
        Some((number, to)) => format!("{:.2}", number / to),
        None => "–".to_owned(),
    }
}

pub(super) fn many(report: &ManyReport) {
    println!("many servers behind one endpoint: tools/call with a session, requests per second\n");
    println!("| connections | contender | req/s | to the proxy | p50 µs | p99 µs |");
    println!("|---:|---|---:|---:|---:|---:|");
    let of = |row: &Row, name: &str| {
        report.rows.iter().find(|other| other.connections == row.connections && other.name == name)
    };
    for row in &report.rows {
        let to_proxy =
            ratio(Some(row.requests_per_second), of(row, many::PROXY).map(|proxy| proxy.requests_per_second));
        println!(
            "| {} | {} | {:.0} | {to_proxy} | {:.0} | {:.0} |",
            row.connections, row.name, row.requests_per_second, row.p50_us, row.p99_us
        );
    }
    println!();
    for row in report.rows.iter().filter(|row| row.name == many::HANGS) {
        let without = of(row, many::WITHOUT).map(|without| without.p99_us);
        let p99 = ratio(Some(row.p99_us), without);
        println!(
            "one of five hangs: p99 at {} connections {p99} of that of the four without it",
            row.connections
        );
    }
    println!("tools/list of {} tools, all pages: {:.1} ms", report.tools, report.list_ms);
    println!(
        "memory of the virtual MCP with {} servers: {:.1} MB\n",
        many::BACKENDS,
        report.resident_kb as f64 / 1024.0
    );
}

pub(super) fn bridge(report: &BridgeReport) {
    let pipes = report.rows.first();
    println!("a stdio server, one session\n");
    println!("| | calls/s, one by one | to pipes | p50 µs | calls/s, 16 at once | to pipes |");
    println!("|---|---:|---:|---:|---:|---:|");
    for row in &report.rows {
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.0} | {} |",
            row.name,
            row.calls_per_second,
            ratio(Some(row.calls_per_second), pipes.map(|pipes| pipes.calls_per_second)),
            row.p50_us,
            row.at_once_per_second,
            ratio(Some(row.at_once_per_second), pipes.map(|pipes| pipes.at_once_per_second)),
        );
    }
    println!(
        "\nfrom start to the first answered call: the server over its pipes {:.1} ms, cold `skep run` {:.1} ms, so {:.1} ms more\n",
        report.own_start_ms,
        report.cold_run_ms,
        report.cold_run_ms - report.own_start_ms
    );
}

pub(super) fn memory(report: &MemoryReport, binary_bytes: u64) {
    println!("memory of `skep proxy`, resident\n");
    println!("| sessions | MB |");
    println!("|---:|---:|");
    for (sessions, kb) in &report.rows {
        println!("| {sessions} | {:.1} |", *kb as f64 / 1024.0);
    }
    println!("\nper idle session: {:.0} bytes", report.bytes_per_session);
    println!("`skep run example`, idle, besides its server: {:.1} MB", report.idle_run_kb as f64 / 1024.0);
    println!("the binary: {:.1} MB\n", binary_bytes as f64 / 1e6);
}

pub(super) fn daemon(report: &DaemonReport) {
    let mb = |kb: u64| kb as f64 / 1024.0;
    println!("memory of the daemon, besides its servers\n");
    println!("| | resident MB | in no file |");
    println!("|---|---:|---:|");
    for (what, memory) in [("idle", report.idle), ("with isolated servers", report.with_servers)] {
        println!("| {what} | {:.1} | {:.1} |", mb(memory.resident_kb), mb(memory.own_kb));
    }
    println!("\npid 1 of the {} servers' sandboxes: {:.1} MB in all", report.servers, mb(report.inits_kb));
    println!("`skep list`, from start to end: {:.1} ms\n", report.list_ms);
}
