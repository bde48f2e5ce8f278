//! The command line as one of our names has it: the word, the environment variables, and how flags are written.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

use crate::face::{Face, Flags};

/// What environment variables are called in the declarations.
const DECLARED: &str = "SKEP_";

/// The command line of this name.
pub(super) fn dressed(command: Command, face: &'static Face) -> Command {
    below(command.name(face.command).bin_name(face.command), face)
}

fn below(mut command: Command, face: &'static Face) -> Command {
    let told = |text: &StyledStr| {
        let text = text.to_string().replace("\n  skep ", &format!("\n  {} ", face.command));
        StyledStr::from(face.told(&text))
    };
    if let Some(about) = command.get_about().map(told) {
        command = command.about(about);
    }
    if let Some(after) = command.get_after_help().map(told) {
        command = command.after_help(after);
    }
    let command = command.mut_args(|arg| worn(arg, face, &told));
    command.mut_subcommands(|command| below(command, face))
}

fn worn(mut arg: Arg, face: &'static Face, told: &impl Fn(&StyledStr) -> StyledStr) -> Arg {
    if let Some(help) = arg.get_help().map(told) {
        arg = arg.help(help);
    }
    let variable = arg.get_env().and_then(|name| name.to_str()?.strip_prefix(DECLARED)).map(str::to_owned);
    if let Some(name) = variable {
        arg = arg.env(face.variable(&name));
    }
    if face.flags == Flags::Gnu {
        return arg;
    }
    match arg.get_action() {
        ArgAction::SetTrue => switch(arg).default_value("false"),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() && !arg.is_require_equals_set() => {
            arg.allow_hyphen_values(true)
        }
        _ => arg,
    }
}

/// `--switch`, `--switch=true` and `--switch=false`.
pub(super) fn switch(arg: Arg) -> Arg {
    let arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true");
    arg.value_name("BOOL").hide_possible_values(true).hide_default_value(true)
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command as Chosen};
    use crate::face::{SKEP, TOOLHIVE};

    #[test]
    fn the_command_line_of_each_name_is_consistent() {
        for face in [&SKEP, &TOOLHIVE] {
            let mut command = Args::command_of(face);
            command.clone().debug_assert();
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("Usage: {}", face.command)), "{help}");
            let run = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
            assert!(run.contains(&format!("  {} run example\n", face.command)), "{run}");
            let other = if face.command == "skep" { "thv" } else { "skep" };
            assert!(!run.contains(&format!("`{other} ")), "{run}");
            assert!(run.contains(&format!("{}_SESSION_STORE", face.variables)), "{run}");
        }
    }

    #[test]
    fn go_switches_have_values_and_values_may_begin_with_a_dash() {
        let logs = |words: &[&str]| match Args::parse_as(&TOOLHIVE, words).unwrap().command {
            Chosen::Logs(args) => (args.follow, args.proxy),
            other => panic!("{other:?}"),
        };
        assert_eq!(logs(&["thv", "logs", "a", "-fp"]), (true, true));
        assert_eq!(logs(&["thv", "logs", "--follow=false", "--proxy=true", "a"]), (false, true));
        let run = ["thv", "run", "--foreground=true", "-e", "-X=1", "example"];
        match Args::parse_as(&TOOLHIVE, &run).unwrap().command {
            Chosen::Run(args) => assert_eq!((args.foreground, &*args.env), (true, &["-X=1".to_owned()][..])),
            other => panic!("{other:?}"),
        }
        assert!(Args::parse_as(&SKEP, &["skep", "logs", "--follow=false", "a"]).is_err());
        // What is required of a group is not there by its default.
        assert!(Args::parse_as(&TOOLHIVE, &["thv", "stop"]).is_err());
        assert!(Args::parse_as(&TOOLHIVE, &["thv", "stop", "a"]).is_ok());
    }
}
