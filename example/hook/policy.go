package main

import (
	"errors"
	"fmt"
	"regexp"
)

// policy is the user's rules. Of the rules that match, deny wins over ask and ask
// over allow; of several with one action the first counts.
type policy struct {
	rules     []*rule
	byDefault string
}

type rule struct {
	action      string
	expr        *regexp.Regexp
	suggestions []string
}

// name returns the rule as it was given. The log and Claude are told this name.
func (r *rule) name() string { return r.action + " " + r.expr.String() }

// add returns the flag that adds a rule.
func (p *policy) add(action string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("an empty expression matches every call; -default is for that")
		}
		expr, err := regexp.Compile(s)
		if err != nil {
			return err
		}
		p.rules = append(p.rules, &rule{action: action, expr: expr})
		return nil
	}
}

// suggest is the flag that adds a suggestion to the rule before it.
func (p *policy) suggest(s string) error {
	if len(p.rules) == 0 || p.rules[len(p.rules)-1].action == "allow" {
		return errors.New("it follows the -deny or -ask that it belongs to")
	}
	r := p.rules[len(p.rules)-1]
	r.suggestions = append(r.suggestions, s)
	return nil
}

// verdict is the policy's decision on a call.
type verdict struct {
	action string
	rule   *rule // that matched; nil if none did
}

func (p *policy) decide(line string) verdict {
	for _, action := range []string{"deny", "ask", "allow"} {
		for _, r := range p.rules {
			if r.action == action && r.expr.MatchString(line) {
				return verdict{action, r}
			}
		}
	}
	return verdict{action: p.byDefault}
}

func (v *verdict) matched() []string {
	if v.rule == nil {
		return nil
	}
	return []string{v.rule.name()}
}

func (v *verdict) message() string {
	switch {
	case v.rule != nil:
		return fmt.Sprintf("the rule -%s '%s' matches", v.rule.action, v.rule.expr)
	case v.action == "deny", v.action == "ask":
		return "no rule matches, and -default is " + v.action
	}
	return ""
}

func (v *verdict) suggestions() []string {
	if v.rule == nil {
		return nil
	}
	return v.rule.suggestions
}
