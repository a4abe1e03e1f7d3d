package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
)

// setParameters reads what follows the question mark.
func (t *target) setParameters(q url.Values) error {
	var cert, key string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		value := q.Get(name)
		if err := t.refuseParameter(name); err != nil {
			return err
		}
		var err error
		switch name {
		case "db":
			err = t.setDB(value)
		case "sentinel_user":
			t.sentinelUser = value
		case "sentinel_password":
			t.sentinelPassword = value
		case "ca":
			err = t.setCA(value)
		case "cert":
			cert = value
		case "key":
			key = value
		case "server_name":
			t.tls.ServerName = value
		case "skip_verify":
			if t.tls.InsecureSkipVerify, err = strconv.ParseBool(value); err != nil {
				err = errors.New("parameter skip_verify: write true or false")
			}
		}
		if err != nil {
			return err
		}
	}
	return t.setClientCertificate(cert, key)
}

// refuseParameter refuses what is unknown or of no use here.
func (t *target) refuseParameter(name string) error {
	switch name {
	case "db":
	case "sentinel_user", "sentinel_password":
		if t.form != "sentinel" {
			return fmt.Errorf("parameter %s is for redis+sentinel:// only", name)
		}
	case "ca", "cert", "key", "server_name", "skip_verify":
		if t.tls == nil {
			return fmt.Errorf("parameter %s is for rediss:// only", name)
		}
	default:
		return fmt.Errorf("unknown parameter %q", name)
	}
	return nil
}

func (t *target) setCA(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("parameter ca: %w", err)
	}
	t.tls.RootCAs = x509.NewCertPool()
	if !t.tls.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("parameter ca: no certificate in %s", file)
	}
	return nil
}

func (t *target) setClientCertificate(cert, key string) error {
	if cert == "" && key == "" {
		return nil
	}
	if cert == "" || key == "" {
		return errors.New("parameters cert and key go together")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("parameters cert and key: %w", err)
	}
	t.tls.Certificates = []tls.Certificate{pair}
	return nil
}
