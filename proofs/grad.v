(* grad.v - the integer sums of src/grad.c: no partial sum leaves int64, and the total depends
   neither on the order of the shares nor on the cut into passes and threads. The limit on a share
   is the float that limit_of() computes, with both of its roundings. *)
Require Import ZArith Reals List Lia Lra Permutation.
From Flocq Require Import Core Relative.
Import ListNotations.
Open Scope Z_scope.

(* binary32 to nearest even, without an upper end: the numbers here lie in 1 .. 2^62. *)
Definition rnd : R -> R := round radix2 (FLT_exp (-149) 24) ZnearestE.

Lemma relative x : (1 <= x)%R -> (Rabs (rnd x - x) <= / 16777216 * x)%R.
Proof.
  intro X. pose proof (relative_error_N_FLT radix2 (-149) 24 eq_refl (fun n => negb (Z.even n)) x) as E.
  rewrite (Rabs_pos_eq x) in E by lra. change (bpow radix2 (- (24) + 1)) with (/ 8388608)%R in E.
  assert (bpow radix2 (-149 + 24 - 1) <= x)%R.
  { apply Rle_trans with (2 := X). change 1%R with (bpow radix2 0). apply bpow_le. lia. }
  specialize (E H). unfold rnd. lra.
Qed.

(* ---- the limit *)

(* limit_of() in units, for N = samples * each; share() cuts v to |v| <= limit, then rounds. *)
Definition limit (N : Z) : R := rnd (IZR (2 ^ 62) / rnd (IZR N)).

(* 2^62 / N, but for two roundings of 2^-24 and half a unit. *)
Theorem share_bound N v : 1 <= N <= 2 ^ 40 -> (Rabs v <= limit N)%R ->
  N * Z.abs (ZnearestE v) <= 2 ^ 62 + 2 ^ 41.
Proof.
  intros [N1 N2] V. apply IZR_le in N1, N2. unfold limit in V.
  pose proof (relative (IZR N) N1) as F. set (f := rnd (IZR N)) in *. apply Rabs_le_inv in F.
  set (d := (IZR (2 ^ 62) / f)%R) in *. change (IZR (2 ^ 40)) with 1099511627776%R in N2.
  assert (D : (d * f = IZR (2 ^ 62))%R) by (unfold d; field; lra).
  change (IZR (2 ^ 62)) with 4611686018427387904%R in D.
  assert (D1 : (1 <= d)%R) by (apply Rnot_lt_le; intro; nra).
  pose proof (relative d D1) as L. apply Rabs_le_inv in L.
  assert (P : (d * IZR N * (1 - / 16777216) <= 4611686018427387904)%R) by nra.
  pose proof (Znearest_half (fun n => negb (Z.even n)) v) as K. fold ZnearestE in K.
  assert (A : (Rabs (IZR (ZnearestE v)) <= d * (1 + / 16777216) + / 2)%R).
  { apply Rabs_le_inv in K. apply Rabs_le_inv in V. apply Rabs_le. lra. }
  rewrite <- abs_IZR in A. apply le_IZR. rewrite mult_IZR.
  change (IZR (2 ^ 62 + 2 ^ 41)) with 4611688217450643456%R. nra.
Qed.

(* ---- sums *)

Definition sum : list Z -> Z := fold_right Z.add 0.

Lemma sum_app l m : sum (l ++ m) = sum l + sum m.
Proof. induction l; cbn [sum fold_right app] in *; lia. Qed.

Lemma sum_order l m : Permutation l m -> sum l = sum m.
Proof. induction 1; cbn [sum fold_right] in *; lia. Qed.

(* The shares of a batch in any order, cut anyhow into passes, samples, threads. *)
Theorem any_order_any_cut shares pieces : Permutation shares (concat pieces) ->
  sum (map sum pieces) = sum shares.
Proof.
  intro P. rewrite (sum_order _ _ P). clear P. induction pieces as [| p pieces IH]; [reflexivity |].
  cbn [map concat]. rewrite sum_app, <- IH. reflexivity.
Qed.

Lemma sum_bound N b l : 0 <= N -> Forall (fun k => N * Z.abs k <= b) l ->
  N * Z.abs (sum l) <= Z.of_nat (length l) * b.
Proof.
  intro. induction 1; cbn [length sum fold_right] in *; [lia |]. rewrite Nat2Z.inj_succ. nia.
Qed.

(* `some` has been added so far, in any order, and `rest` not yet, or to another accumulator. *)
Theorem partial_sum N shares some rest : 1 <= N <= 2 ^ 40 -> Permutation shares (some ++ rest) ->
  Forall (fun k => exists v, (Rabs v <= limit N)%R /\ k = ZnearestE v) shares ->
  (Z.of_nat (length shares) <= N -> Z.abs (sum some) <= 2 ^ 62 + 2 ^ 41) /\
  (2 * Z.of_nat (length shares) <= N -> 2 * Z.abs (sum some) <= 2 ^ 62 + 2 ^ 41).
Proof.
  intros R P F. pose proof (Permutation_length P) as L. rewrite app_length in L.
  apply (Permutation_Forall P), Forall_app in F. destruct F as [F _].
  assert (B : Forall (fun k => N * Z.abs k <= 2 ^ 62 + 2 ^ 41) some).
  { revert F. apply Forall_impl. intros k [v [V ->]]. now apply share_bound. }
  apply sum_bound in B; [| lia]. clear F P. split; intro C; nia.
Qed.

(* ---- how many shares a sum receives: N = samples * each. A dense matrix, R1 and a norm: one a
   sample, each = 1. R2: one a row and sample, each = rows. The loss: one a token, each = context. An
   embedding: one a token, each = 2 context, and where it is the head too, one a sample, each = 2: two
   kinds, each within half. *)

Theorem shares_of_a_sum samples context rows : 1 <= samples -> 1 <= context -> 1 <= rows ->
  samples <= samples * 1 /\ samples * rows <= samples * rows /\
  samples * context <= samples * context /\
  2 * (samples * context) <= samples * (2 * context) /\ 2 * samples <= samples * 2.
Proof. intros. nia. Qed.

Theorem two_kinds a b : 2 * Z.abs a <= 2 ^ 62 + 2 ^ 41 -> 2 * Z.abs b <= 2 ^ 62 + 2 ^ 41 ->
  Z.abs (a + b) <= 2 ^ 62 + 2 ^ 41.
Proof. lia. Qed.

Print Assumptions partial_sum.
