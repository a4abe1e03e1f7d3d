package cli

import (
	"time"

	"m2mbridge/sms"
)

// scheduleFlags are the back-off, the same setting for all that reckon with it.
type scheduleFlags struct {
	SMSSchedule string        `name:"sms-schedule" env:"M2M_SMS_SCHEDULE" default:"5m/1m,1h/10m,12h/1h,36h/4h" placeholder:"LENGTH/STEP,…" help:"When an SMS is tried again: for 5 minutes every minute, then for an hour every 10 minutes, and so on."`
	SMSLimit    time.Duration `name:"sms-limit" env:"M2M_SMS_LIMIT" default:"48h" help:"How long after its first attempt an SMS is given up."`
}

func (f *scheduleFlags) schedule() (sms.Schedule, error) {
	s, err := sms.ParseSchedule(f.SMSSchedule, f.SMSLimit)
	if err != nil {
		return s, Usagef("%w", err)
	}
	return s, nil
}
