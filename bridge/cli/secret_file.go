package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
)

// secretFile takes the secrets that an import makes: CSV, for its owner alone.
type secretFile struct {
	f   *os.File
	csv *csv.Writer
	n   int
}

// createSecrets makes a new file: one that is there may hold secrets.
func createSecrets(name string) (*secretFile, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make file of secrets: %w", err)
	}
	s := &secretFile{f: f, csv: csv.NewWriter(f)}
	return s, s.csv.Write([]string{"id", "secret"})
}

func (s *secretFile) add(id, secret string) error {
	if s == nil {
		return errors.New("the bridge sent a secret that was not asked for")
	}
	s.n++
	if err := s.csv.Write([]string{id, secret}); err != nil {
		return err
	}
	s.csv.Flush() // what is made is made, whatever becomes of this program
	return s.csv.Error()
}

// close makes sure that they are on disk: nobody has them but this file and the
// bridge. A file without any is removed.
func (s *secretFile) close() error {
	if s == nil {
		return nil
	}
	s.csv.Flush()
	err := errors.Join(s.csv.Error(), s.f.Sync(), s.f.Close())
	if s.n == 0 && err == nil {
		err = os.Remove(s.f.Name())
	}
	if err != nil {
		return fmt.Errorf("write file of secrets: %w", err)
	}
	return nil
}
