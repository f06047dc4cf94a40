(* sample.v - the draw of src/sample.c, over the integers: a 64-bit word becomes a number below the
   total weight, that number becomes an index, and the count of words that end on an index is its
   share of 2^64 up to one word. *)
Require Import ZArith List Lia.
Import ListNotations.
Open Scope Z_scope.

Definition words : Z := 2 ^ 64.
Definition sum : list Z -> Z := fold_right Z.add 0.
Definition draw (word total : Z) : Z := word * total / words.

(* n <= 2^24 weights of at most 2^32 stay at or below 2^56, so no uint64_t wraps. *)
Theorem total_fits l : Z.of_nat (length l) <= 2 ^ 24 -> Forall (fun w => 0 <= w <= 2 ^ 32) l ->
  0 <= sum l <= 2 ^ 56.
Proof.
  intros L F. assert (0 <= sum l <= Z.of_nat (length l) * 2 ^ 32); [| lia]. clear L.
  induction F; cbn [length sum fold_right] in *; [lia |]. rewrite Nat2Z.inj_succ. lia.
Qed.

Theorem draw_below word total : 0 <= word < words -> 0 < total -> 0 <= draw word total < total.
Proof.
  unfold draw. intros W T. assert (0 < words) by reflexivity. split.
  - apply Z.div_pos; nia.
  - apply Z.div_lt_upper_bound; nia.
Qed.

(* The loop: `sum += weight` until it exceeds d; the index where it stops. *)
Fixpoint walk (seen d : Z) (l : list Z) : nat :=
  match l with [] => 0 | w :: rest => if seen + w <=? d then S (walk (seen + w) d rest) else 0 end.

(* It stops inside the list, where d lies among the weights before it and its own. *)
Theorem walk_stops l : forall seen d, seen <= d < seen + sum l ->
  (walk seen d l < length l)%nat /\
  seen + sum (firstn (walk seen d l) l) <= d < seen + sum (firstn (S (walk seen d l)) l).
Proof.
  induction l as [| w rest IH]; cbn [walk sum fold_right length]; intros seen d D; [lia |].
  fold (sum rest) in *. destruct (Z.leb_spec (seen + w) d).
  - destruct (IH (seen + w) d) as [A B]; [lia |]. split; [lia |].
    rewrite !firstn_cons. cbn [sum fold_right].
    fold (sum (firstn (walk (seen + w) d rest) rest)).
    fold (sum (firstn (S (walk (seen + w) d rest)) rest)). lia.
  - cbn. lia.
Qed.

(* Words whose draw is below a: the first `upto a` of them, a share a / total rounded up. *)
Definition upto (a total : Z) : Z := (a * words + total - 1) / total.

Theorem draw_splits word a total : 0 < total -> draw word total < a <-> word < upto a total.
Proof.
  unfold draw, upto. intros T. assert (P : 0 < words) by reflexivity. split; intros H.
  - pose proof (Z.mul_succ_div_gt (word * total) words P).
    assert (word + 1 <= (a * words + total - 1) / total); [| lia].
    apply Z.div_le_lower_bound; nia.
  - apply Z.div_lt_upper_bound; [exact P |].
    pose proof (Z.mul_div_le (a * words + total - 1) total T). nia.
Qed.

(* So a weight from a to b is met by upto b - upto a words: (b - a) 2^64 / total, up to one. *)
Theorem fair a b total : 0 < total ->
  Z.abs (total * (upto b total - upto a total) - (b - a) * words) < total.
Proof.
  unfold upto. intros T.
  pose proof (Z.mul_div_le (a * words + total - 1) total T).
  pose proof (Z.mul_succ_div_gt (a * words + total - 1) total T).
  pose proof (Z.mul_div_le (b * words + total - 1) total T).
  pose proof (Z.mul_succ_div_gt (b * words + total - 1) total T). lia.
Qed.
