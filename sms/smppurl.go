package sms

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"m2mbridge/sms/smpp"
)

// The ports that are used where the URL names none.
const (
	portSMPP  = "2775" // IANA's
	portSMPPS = "3550" // most operators'; IANA has none
)

// newSMPP reads the URL. No error holds it: it has the password.
func newSMPP(rawURL string, o Options) (*smppGateway, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.User == nil || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("it is no URL such as smpp://system_id:password@host:2775?window=10; what is no letter or digit in the password is written as %XX")
	}
	p, err := readParameters(u.RawQuery)
	if err != nil {
		return nil, err
	}
	g := &smppGateway{options: o, changed: make(chan struct{}), state: smpp.State{Reason: smpp.Starting}, pending: map[string]*pending{}}
	cfg := g.config(u, p)
	// Ids are the account's, by whichever of its SMSC's addresses a node reaches it.
	if g.name = p.take("name", ""); g.name != "" && !codeForm.MatchString(g.name) {
		p.fail("name", "%.40q is not up to 64 letters, digits and . _ : - that begin with a letter or digit", g.name)
	}
	if g.name == "" {
		g.name = "smpp:" + cfg.SystemID
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	g.client, err = smpp.New(cfg)
	return g, err
}

func (g *smppGateway) config(u *url.URL, p *parameters) smpp.Config {
	password, _ := u.User.Password()
	port := u.Port()
	if port == "" {
		port = map[string]string{"smpp": portSMPP, "smpps": portSMPPS}[u.Scheme]
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		p.errs = append(p.errs, fmt.Errorf("port %s is none from 1 to 65535", port))
	}
	g.window, g.rate = p.number("window", 10, 1, 1000), p.rate("rate")
	g.receipts = p.choice("receipts", "on", "off") == 0
	cfg := smpp.Config{
		Addr: net.JoinHostPort(u.Hostname(), port), SystemID: u.User.Username(), Password: password,
		SystemType: p.take("systemType", ""), ServiceType: p.take("serviceType", ""), Window: g.window,
		Alphabet:        smpp.Alphabet(p.choice("alphabet", "gsm", "gsm-packed", "latin1", "ascii")),
		Long:            smpp.Long(p.choice("long", "udh", "sar", "payload")),
		ResponseTimeout: p.duration("timeout", 10*time.Second, time.Second, MaxTimeout),
		Receipt:         g.receipt, Late: g.late, Changed: g.change,
	}
	if u.Scheme == "smpps" {
		cfg.TLS = smppTLS(p)
	}
	return cfg
}

// smppTLS reads the parameters that only smpps has.
func smppTLS(p *parameters) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: p.choice("insecureSkipVerify", "false", "true") == 1}
	if file := p.take("ca", ""); file != "" {
		text, err := os.ReadFile(file)
		if cfg.RootCAs = x509.NewCertPool(); err != nil {
			p.errs = append(p.errs, fmt.Errorf("parameter ca: %w", err))
		} else if !cfg.RootCAs.AppendCertsFromPEM(text) {
			p.fail("ca", "%s holds no certificate in PEM form", file)
		}
	}
	return cfg
}
