// Package explain finds out why a message token does not match its body: it
// makes the token again with every mistake devices are known to make, one at a
// time and then two at a time, and names the one that gives the token sent.
// It is for an operator who has the secret; it knows nothing of the registry,
// takes no care to run in constant time, and never shows a secret.
package explain

// Input is one message as it arrived, and what its token should be made with.
type Input struct {
	Body    []byte
	Token   string
	Secrets []string // active secrets, newest first
	Retired []string // secrets that were taken out of use, if still known
	Others  []string // secrets of another device that the message names
	Logins  []string // MQTT user names whose login token may have been sent instead
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Code string `json:"code" doc:"Stable short name of the mistake" example:"body-newline-sent"`
	Text string `json:"text" doc:"What the device did"`
	Fix  string `json:"fix,omitempty" doc:"What to change"`
}

// Report is the outcome. Match with findings is a token that is accepted but
// oddly written; neither match nor findings cannot happen.
type Report struct {
	Match    bool      `json:"match" doc:"The token is right for this body"`
	Secret   int       `json:"secret" doc:"Which active secret the token was made with: 1, 2, or 0 when none gives it"`
	Findings []Finding `json:"findings" nullable:"false" doc:"What is wrong, or odd, with the token"`
}

// budget bounds what one search may hash, in bytes: about a tenth of a second. A
// body of the largest size is tried with every single mistake, and with two at
// once as far as that goes; a usual one with all.
const budget = 24 << 20

// hashCost is what a hash costs beside the bytes that go into it.
const hashCost = 128

// largeBody bounds what is made of a body in many ways, and what a packed one
// may hold: a small body can hold gigabytes.
const (
	largeBody = 16 << 10
	mostBody  = 64 << 10
)

// Explain compares the token with every token a known mistake would make. The
// explanation with the fewest mistakes wins; equal ones go by the order of the
// tables, the more common first.
func Explain(in Input) Report {
	found := revealed(&in)
	r := explain(in)
	r.Match = r.Match && len(found) == 0
	r.Findings = append(r.Findings, found...)
	return r
}

func explain(in Input) Report {
	s := search{forms: tokenForms(in.Token), left: budget}
	if len(s.forms) == 0 {
		return Report{Findings: []Finding{malformed(in.Token)}}
	}
	s.bodies = bodyVariants(in.Body)
	s.formulas = formulas(in.Logins)
	s.secrets = secretVariants(in)
	if r, ok := s.run(); ok {
		return r
	}
	return Report{Findings: []Finding{unexplained(in, s.left <= 0)}}
}

// variant is one way a device may have had the bytes; no finding is the right way.
type variant struct {
	finding *Finding
	bytes   []byte
	secret  int  // for secrets: which active one it stems from
	rare    bool // not worth trying together with another mistake
}

type search struct {
	forms    []form
	bodies   []variant
	formulas []formula
	secrets  []variant
	left     int // of the budget
}

// run tries combinations by the number of mistakes in them. The first entry of
// each table is the right way.
func (s *search) run() (Report, bool) {
	for mistakes := range 3 {
		if r, ok := s.level(mistakes); ok {
			return r, true
		}
	}
	return Report{}, false
}

// level tries every combination with exactly that many mistakes in body,
// formula and secret; odd forms of the token itself come on top.
func (s *search) level(mistakes int) (Report, bool) {
	for fi := range s.formulas {
		f := &s.formulas[fi]
		for si := range s.secrets {
			secret := &s.secrets[si]
			left := mistakes - odd(f.finding) - odd(secret.finding)
			if left < 0 || left > 1 || secret.rare && mistakes > 1 {
				continue
			}
			for bi := range s.bodies {
				if odd(s.bodies[bi].finding) != left || s.bodies[bi].rare && mistakes > 1 {
					continue
				}
				if s.left -= len(s.bodies[bi].bytes) + len(secret.bytes) + hashCost; s.left <= 0 {
					return Report{}, false
				}
				if r, ok := s.try(&s.bodies[bi], f, secret); ok {
					return r, true
				}
			}
		}
	}
	return Report{}, false
}

func odd(f *Finding) int {
	if f == nil {
		return 0
	}
	return 1
}

func (s *search) try(b *variant, f *formula, secret *variant) (Report, bool) {
	sum := f.sum(b.bytes, secret.bytes)
	for _, form := range s.forms {
		if !form.match(sum) {
			continue
		}
		r := Report{Secret: secret.secret, Findings: append([]Finding{}, form.findings...)}
		if f.noSecret {
			r.Secret = 0
		}
		for _, finding := range []*Finding{b.finding, f.finding, secret.finding} {
			if finding != nil {
				r.Findings = append(r.Findings, *finding)
			}
		}
		r.Match = form.accepted && len(r.Findings) == len(form.findings)
		return r, true
	}
	return Report{}, false
}

func unexplained(in Input, short bool) Finding {
	if len(in.Secrets)+len(in.Retired) == 0 {
		return Finding{"no-secret", "there is no secret to compare the token with", "register a secret for the device, or give one"}
	}
	if short {
		return Finding{
			"unexplained", "none of the mistakes that were tried gives this token; the body is too large to try all, and any two at once",
			"make the mistake come again with a shorter body",
		}
	}
	return Finding{
		"unexplained",
		"no known mistake gives this token: most likely the device holds another secret, or the body was changed after the token was made",
		"compare the secrets by a hash of each, and the bytes hashed with the bytes sent",
	}
}
