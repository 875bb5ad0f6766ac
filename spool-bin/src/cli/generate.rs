//! `spool generate`: man pages and completions, generated from the command line. For packages; hidden in the help.

use crate::failure::Failure;
use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The directory for `man` and `completions`
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Generate {
    pub(super) fn run(self, command: Command) -> Result<(), Failure> {
        write(command, &self.to)?;
        Ok(())
    }
}

fn write(command: Command, to: &Path) -> anyhow::Result<()> {
    let (man, completions) = (to.join("man"), to.join("completions"));
    for dir in [&man, &completions] {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "spool", &completions)
            .with_context(|| completions.display().to_string())?;
    }
    let command = command.disable_help_subcommand(true);
    clap_mangen::generate_to(command, &man).with_context(|| man.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_a_man_page_and_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        write(Cli::command(), dir.path()).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let shells = ["spool.bash", "_spool", "spool.fish"].map(|name| read(&format!("completions/{name}")));
        let mut commands = 0;
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = command.get_name();
            let page = read(&format!("man/spool-{name}.1"));
            for option in command.get_opts().filter_map(clap::Arg::get_long) {
                let escaped = option.replace('-', "\\-");
                assert!(
                    page.contains(&format!("\\-\\-{escaped}")),
                    "spool-{name}.1 has no --{option}"
                );
                assert!(
                    shells.iter().all(|shell| shell.contains(option)),
                    "{name} --{option}"
                );
            }
            commands += 1;
        }
        assert!(
            commands > 20 && read("man/spool.1").contains("spool\\-serve"),
            "{commands}"
        );
        assert!(
            !dir.path().join("man/spool-generate.1").exists(),
            "it is for packages only"
        );
    }
}
