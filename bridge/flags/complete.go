package flags

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteBash writes a script that has bash complete the program's command lines.
func (c *Command) WriteBash(w io.Writer) error { return c.writeCompletion(w, bashDriver) }

// WriteZsh writes the same for zsh.
func (c *Command) WriteZsh(w io.Writer) error { return c.writeCompletion(w, zshDriver) }

// writeCompletion writes what the commands and flags are, as functions of a
// shell, and the driver that asks them. Both shells read these alike.
func (c *Command) writeCompletion(w io.Writer, driver string) error {
	s := &completion{}
	c.Walk(s.command)
	name := c.Name
	function := func(of string, cases []string) string {
		return fmt.Sprintf("_%s_%s() {\n  case \"$1\" in\n%s  *) return 1 ;;\n  esac\n}\n", name, of, strings.Join(cases, ""))
	}
	text := strings.ReplaceAll(driver, "DATA\n", function("words", s.words)+function("flags", s.flags)+function("takes", s.takes)+function("values", s.values))
	_, err := io.WriteString(w, strings.ReplaceAll(text, "PROGRAM", name))
	return err
}

// completion is the cases of the functions. Their argument is the words of a
// command, and of its flag, such as "device add" and "device add --label".
type completion struct {
	words  []string // what may follow: subcommands, or an argument's values
	flags  []string // the flags there are
	takes  []string // of a flag: it takes a value
	values []string // of a flag: the values there are
}

func (s *completion) command(c *Command) {
	at := strings.Join(c.Words(), " ")
	words := commandNames(c.Commands)
	for _, arg := range c.Args {
		words = append(words, arg.Enum...)
	}
	s.words = append(s.words, shellCase(at, words))
	names := []string{"--help"}
	for _, of := range c.path() {
		for _, f := range of.Flags {
			if !f.Hidden {
				names = append(names, s.flag(at, f)...)
			}
		}
	}
	slices.Sort(names)
	s.flags = append(s.flags, shellCase(at, slices.Compact(names)))
}

// flag gives the names of a flag.
func (s *completion) flag(at string, f *Flag) []string {
	names := []string{"--" + f.Name}
	if f.IsBool() {
		if f.Negatable {
			names = append(names, "--no-"+f.Name)
		}
		return names
	}
	of := strings.TrimSpace(at + " --" + f.Name)
	s.takes = append(s.takes, fmt.Sprintf("  %s) ;;\n", shellQuote(of)))
	if f.Short != "" {
		s.takes = append(s.takes, fmt.Sprintf("  %s) ;;\n", shellQuote(strings.TrimSpace(at+" -"+f.Short))))
	}
	if len(f.Enum) > 0 {
		s.values = append(s.values, shellCase(of, f.Enum))
	}
	return names
}

func shellCase(of string, words []string) string {
	return fmt.Sprintf("  %s) echo %s ;;\n", shellQuote(of), shellQuote(strings.Join(words, " ")))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// bashDriver finds the command that the words before the cursor mean. Bash parts
// words at = and gives that as a word of its own.
const bashDriver = `# Completion of PROGRAM for bash: source <(PROGRAM completion bash)
DATA
_PROGRAM() {
  local cur=${COMP_WORDS[COMP_CWORD]} at="" flag="" word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == "=" ]]; then
      continue
    elif [[ -n $flag ]]; then
      flag=""
    elif [[ $word == -* ]]; then
      if _PROGRAM_takes "${at:+$at }$word"; then flag=$word; fi
    elif [[ " $(_PROGRAM_words "$at") " == *" $word "* ]] && _PROGRAM_words "${at:+$at }$word" >/dev/null; then
      at=${at:+$at }$word
    fi
  done
  if [[ $cur == "=" ]]; then cur=""; fi
  if [[ -n $flag ]]; then
    COMPREPLY=($(compgen -W "$(_PROGRAM_values "${at:+$at }$flag")" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$(_PROGRAM_flags "$at")" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$(_PROGRAM_words "$at")" -- "$cur"))
  fi
  return 0 # with nothing to offer, bash offers files
}
complete -o default -F _PROGRAM PROGRAM
`

// zshDriver is the same for zsh, which leaves words whole.
const zshDriver = `#compdef PROGRAM
# Completion of PROGRAM for zsh: PROGRAM completion zsh > "${fpath[1]}/_PROGRAM"
DATA
_PROGRAM() {
  local cur=${words[CURRENT]} at="" flag="" word i found
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if [[ -n $flag ]]; then
      flag=""
    elif [[ $word == -* ]]; then
      if _PROGRAM_takes "${at:+$at }$word"; then flag=$word; fi
    elif [[ " $(_PROGRAM_words "$at") " == *" $word "* ]] && _PROGRAM_words "${at:+$at }$word" >/dev/null; then
      at="${at:+$at }$word"
    fi
  done
  if [[ -z $flag && $cur == --*=* ]]; then
    flag=${cur%%=*}
    compset -P '*='
  fi
  if [[ -n $flag ]]; then
    found=$(_PROGRAM_values "${at:+$at }$flag") || { _files; return; }
  elif [[ $cur == -* ]]; then
    found=$(_PROGRAM_flags "$at")
  else
    found=$(_PROGRAM_words "$at")
  fi
  if [[ -z $found ]]; then
    _files
  else
    compadd -- ${=found}
  fi
}
if [[ ${funcstack[1]} == _PROGRAM ]]; then
  _PROGRAM "$@"
else
  compdef _PROGRAM PROGRAM
fi
`
