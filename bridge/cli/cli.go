// Package cli is the command line: one file and one struct per subcommand. It
// turns flags, environment and a TOML file into the values that the other
// packages take, and errors into exit codes; it does none of their work.
//
// A subcommand is a struct whose fields are its flags, with a method
// Run(*Env) error, and one field of [CLI]. A flag with an env tag is a setting
// of the whole program: its TOML key is the flag's name at the top level. Any
// other flag belongs to its command: its variable is M2M_<COMMAND>_<FLAG>, and
// its key is in the table [<command>], [<command>.<subcommand>] for two words.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"m2mbridge/bridge/flags"
)

// Exit codes of the program.
const (
	exitOK      = 0
	exitFailure = 1 // the command could not do what it was asked
	exitUsage   = 2 // the command line, the environment or the file is wrong
)

// CLI is the whole command line.
type CLI struct {
	ConfigFile string `name:"config" placeholder:"FILE" env:"M2M_CONFIG" help:"TOML file of settings; flags and M2M_ variables win over it."`
	Version    bool   `alone:"" help:"Print the version and end."`

	Serve  Serve     `cmd:"" help:"Run the bridge."`
	Doctor Doctor    `cmd:"" help:"Check Redis, its settings, the clocks, the listeners, and all that is kept; mend it with --fix."`
	Config ConfigCmd `cmd:"" help:"Print the whole effective configuration of serve as a TOML file, secrets starred."`

	Device   Device   `cmd:"" help:"Add, search, change, import and export devices."`
	App      App      `cmd:"" help:"Add, list, change and remove apps."`
	Session  Session  `cmd:"" help:"List, show and remove MQTT sessions of apps."`
	Downlink Downlink `cmd:"" help:"Queue, show, list and cancel messages to devices."`
	SMS      SMS      `cmd:"" help:"Send, show, list and cancel SMS to devices, and show when they are tried."`
	Token    Token    `cmd:"" help:"Print the message token of a body, or find out why one does not match."`
	Send     Send     `cmd:"" help:"Send one uplink as a device and print the exchange."`
	Tail     Tail     `cmd:"" help:"Follow uplinks, rejects and events as they come."`
	Sim      Sim      `cmd:"" help:"Let a fleet of simulated devices send, and measure the answers."`
	Demo     Demo     `cmd:"" help:"Run the bridge with a small fleet and an app, and tell what happens."`

	Completion Completion `cmd:"" help:"Print a script that completes command lines, for bash or zsh."`
	VersionCmd VersionCmd `cmd:"" name:"version" help:"Print the version."`
}

// Help is the longer text of --help.
func (CLI) Help() string {
	return `Each command's --help has an example. A flag may also be a variable or stand in
the file of --config: the flag wins, then the variable, then the file.

Exit codes: 0 it was done; 1 it could not be done, or was refused; 2 the command
line, the environment or the file is wrong.`
}

// Env is what a command may touch of the outside world.
type Env struct {
	Ctx            context.Context // ends at the first SIGINT or SIGTERM
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Log            *slog.Logger // to Stderr; serve replaces it by its configuration
	Settings       *Settings    // where each setting came from
	Call           *flags.Invocation
}

// ErrUsage marks an error of the user's making: exit code 2.
var ErrUsage = errors.New("usage")

// Usagef is an error of the user's making.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ error }

func (e *usageError) Unwrap() []error { return []error{e.error, ErrUsage} }

// Run runs one command line, without the program's name, and returns the exit
// code. environ is of the form of [os.Environ].
func Run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := &Env{
		Ctx: ctx, Stdin: stdin, Stdout: stdout, Stderr: stderr,
		Log:      slog.New(newLogHandler(stderr, slog.LevelInfo, "text")),
		Settings: newSettings(environ),
	}
	command, err := parse(new(CLI), env, args)
	switch {
	case err != nil:
		err = Usagef("%w (see %s --help)", err, strings.Join(append([]string{"m2mbridge"}, env.Call.Command.Words()...), " "))
	case env.Call.Alone == "help":
		err = env.Call.Command.WriteHelp(stdout, env.Settings.note)
	case env.Call.Alone == "version":
		_, err = fmt.Fprintln(stdout, version())
	default:
		err = command.Run(env)
	}
	return report(stderr, err)
}

// runner is a command that can be run: all but those that only have commands.
type runner interface{ Run(*Env) error }

// parse sets the flags of the command that args mean, unless only help or the
// version is wanted.
func parse(c *CLI, env *Env, args []string) (command runner, err error) {
	root := flags.New("m2mbridge",
		"Takes SenML packs from devices over HTTP and MQTT, verifies and stores them, and hands them to apps.", c)
	env.Settings.adopt(root)
	if env.Call, err = root.Match(args); err != nil || env.Call.Alone != "" {
		return nil, err
	}
	if err := env.Settings.open(env.Call); err != nil {
		return nil, err
	}
	if err := env.Call.Bind(env.Settings.source); err != nil {
		return nil, err
	}
	if err := refuseStars(env.Call); err != nil {
		return nil, err
	}
	return env.Call.Command.Target.(runner), nil
}

// report turns the outcome of a command into its exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if unread(err) {
		return exitFailure // who reads no further needs no reason
	}
	fmt.Fprintf(stderr, "m2mbridge: %v\n", err)
	if errors.Is(err, ErrUsage) {
		return exitUsage
	}
	return exitFailure
}
