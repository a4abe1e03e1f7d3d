package cli

import (
	"m2mbridge/bridge/flags"
)

// Completion is `m2mbridge completion`.
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh" help:"bash or zsh."`
}

// Help is the longer text of --help.
func (Completion) Help() string {
	return `Examples, for the shell at hand, and for every one to come:

  source <(m2mbridge completion bash)
  m2mbridge completion bash > ~/.local/share/bash-completion/completions/m2mbridge
  m2mbridge completion zsh > "${fpath[1]}/_m2mbridge"`
}

// Run prints the script.
func (c *Completion) Run(env *Env) error {
	root := flags.New("m2mbridge", "", new(CLI))
	if c.Shell == "zsh" {
		return root.WriteZsh(env.Stdout)
	}
	return root.WriteBash(env.Stdout)
}
