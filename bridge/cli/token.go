package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"m2mbridge/auth"
	"m2mbridge/bridge/explain"
)

// Token is `m2mbridge token`.
type Token struct {
	Secret  string `env:"M2M_SECRET" secret:"" required:"" placeholder:"SECRET" help:"Shared secret of the device."`
	Explain bool   `help:"Find out why the token given with --token does not match the body."`
	Token   string `placeholder:"TOKEN" help:"Token that the device sent, for --explain."`
	JSON    bool   `name:"json" help:"Print JSON: the token, or what --explain found."`
}

// Help is the longer text of --help.
func (Token) Help() string {
	return `The body is read from standard input, byte for byte: mind the line feed that
echo adds. Examples:

  printf '%s' '[{"bn":"urn:dev:IMEI:356726104408422:","n":"t","v":1}]' | m2mbridge token
  m2mbridge token --explain --token 3fa4...  < body.json

--explain ends with exit code 1 when the token does not match.`
}

// errNoMatch ends `token --explain`: what was found is on standard output.
var errNoMatch = errors.New("the token does not match the body")

// Run prints the token of the body, or what is wrong with another one.
func (c *Token) Run(env *Env) error {
	if c.Explain != (c.Token != "") {
		return Usagef("--explain and --token TOKEN go together")
	}
	body, err := readBody(env.Stdin)
	if err != nil {
		return err
	}
	if !c.Explain && c.JSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"token": auth.Token(body, c.Secret)})
	}
	if !c.Explain {
		_, err := fmt.Fprintln(env.Stdout, auth.Token(body, c.Secret))
		return err
	}
	in := explain.Input{Body: body, Token: c.Token, Secrets: []string{c.Secret}}
	if id, ok := explain.Device(body); ok {
		in.Logins = []string{id.BaseName()}
	}
	report := explain.Explain(in)
	report.Findings = append(explain.Pack(body), report.Findings...)
	if err := c.show(env.Stdout, &report); err != nil {
		return err
	}
	if !report.Match {
		return errNoMatch
	}
	return nil
}

func (c *Token) show(w io.Writer, r *explain.Report) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(r)
	}
	if r.Match {
		fmt.Fprintln(w, "the token matches the body")
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s: %s\n", f.Code, f.Text)
		if f.Fix != "" {
			fmt.Fprintf(w, "  %s\n", f.Fix)
		}
	}
	return nil
}

// readBody reads all there is, and refuses to wait for somebody to type it.
func readBody(r io.Reader) ([]byte, error) {
	if f, ok := r.(*os.File); ok {
		if s, err := f.Stat(); err == nil && s.Mode()&os.ModeCharDevice != 0 {
			return nil, Usagef("the body is read from standard input: redirect a file or a pipe to it")
		}
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return body, nil
}
