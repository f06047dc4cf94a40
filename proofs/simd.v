(* simd.v - the integers of src/simd.c. No lane leaves its type; neither the order of the terms nor
   the way they are cut into parts matters; and the two detours of the instructions,
   |w| (q sign w) and (w + 128) q - 128 q, are w q. The bounds of whole groups and rows are those of
   tq4.v. Over the integers without bound: what is shown to stay inside a type does not wrap in it.
   Chapter 9 says which line of C each theorem belongs to. *)
Require Import ZArith List Lia Permutation.
Import ListNotations.
Open Scope Z_scope.

Definition within (b x : Z) : Prop := Z.abs x <= b.

Definition sum : list Z -> Z := fold_right Z.add 0.

(* ---- order and tiles *)

Theorem any_order l m : Permutation l m -> sum l = sum m.
Proof. induction 1; cbn [sum fold_right] in *; lia. Qed.

Lemma sum_app l m : sum (l ++ m) = sum l + sum m.
Proof. induction l; cbn [sum fold_right app] in *; lia. Qed.

Theorem any_tiles tiles : sum (map sum tiles) = sum (concat tiles).
Proof.
  induction tiles as [| t tiles IH]; [reflexivity |].
  cbn [map concat]. rewrite sum_app, <- IH. reflexivity.
Qed.

(* Even columns, then odd ones: lay_out() and the two halves of a vector of nibbles. *)
Fixpoint evens {A} (l : list A) : list A :=
  match l with a :: _ :: rest => a :: evens rest | _ => l end.
Fixpoint odds {A} (l : list A) : list A :=
  match l with _ :: b :: rest => b :: odds rest | _ => [] end.
Definition lay {A} (l : list A) : list A := evens l ++ odds l.

Fixpoint lay_perm {A} (l : list A) : Permutation (lay l) l.
Proof.
  destruct l as [| a [| b rest]]; [apply Permutation_refl | apply Permutation_refl |].
  unfold lay in *. cbn [evens odds app]. apply perm_skip.
  rewrite <- Permutation_middle. apply perm_skip, lay_perm.
Qed.

Definition products (l : list (Z * Z)) : list Z := map (fun p => fst p * snd p) l.

Theorem laid_out_dot l : sum (products (lay l)) = sum (products l).
Proof. apply any_order, Permutation_map, lay_perm. Qed.

(* ---- ranges: l may be all terms or those that any partial sum has met *)

Lemma sum_within b l : 0 <= b -> Forall (within b) l -> within (Z.of_nat (length l) * b) (sum l).
Proof.
  unfold within. intros B. induction 1; cbn [length sum fold_right] in *; [lia |].
  rewrite Nat2Z.inj_succ. nia.
Qed.

Lemma product_within a b x y : within a x -> within b y -> within (a * b) (x * y).
Proof. unfold within. rewrite Z.abs_mul. nia. Qed.

(* ---- AVX2: _mm256_sign_epi8, _mm256_abs_epi8, _mm256_maddubs_epi16, _mm256_madd_epi16 *)

Definition signed (q w : Z) : Z := if w <? 0 then - q else if w =? 0 then 0 else q.

Theorem sign_moves w q : Z.abs w * signed q w = w * q.
Proof. unfold signed. destruct (Z.ltb_spec w 0), (Z.eqb_spec w 0); subst; lia. Qed.

Theorem bytes_hold_them w q : -128 <= w <= 127 -> within 127 q ->
  0 <= Z.abs w <= 255 /\ -128 <= signed q w <= 127.
Proof. unfold within, signed. destruct (Z.ltb_spec w 0), (Z.eqb_spec w 0); lia. Qed.

(* The saturating 16-bit sum of a pair never saturates. *)
Theorem pair_fits w0 q0 w1 q1 :
  within 128 w0 -> within 127 q0 -> within 128 w1 -> within 127 q1 ->
  -32768 <= w0 * q0 + w1 * q1 <= 32767.
Proof.
  intros A B C D. pose proof (product_within _ _ _ _ A B). pose proof (product_within _ _ _ _ C D).
  unfold within in *. lia.
Qed.

(* Two pairs times scales, four steps of 32 columns in a group of 128. *)
Theorem avx2_lane_fits l : (length l <= 8)%nat -> Forall (within (2 * 128 * 127 * 128)) l ->
  Z.abs (sum l) < 2 ^ 25.
Proof. intros L F. apply sum_within in F; [| lia]. unfold within in F. nia. Qed.

(* ---- AVX-512 VNNI: _mm512_dpbusd_epi32 onto the bias *)

Theorem biased w q : length w = length q ->
  - 128 * sum q + sum (products (combine (map (fun x => x + 128) w) q)) = sum (products (combine w q)).
Proof.
  revert q. induction w as [| a w IH]; destruct q as [| b q]; intro L; try discriminate L; [reflexivity |].
  injection L as L. specialize (IH q L). unfold products in *.
  cbn [sum fold_right map combine fst snd] in *. lia.
Qed.

(* Exclusive or with 80 hex adds 128 to a signed byte and reads it as an unsigned one. *)
Theorem flip w : -128 <= w < 128 -> 0 <= w + 128 < 256 /\ (w + 128) mod 256 = Z.lxor (w mod 256) 128.
Proof.
  intros R. split; [lia |].
  assert (A : forall n, (n < 256)%nat ->
    let w := Z.of_nat n - 128 in (w + 128) mod 256 = Z.lxor (w mod 256) 128).
  { intros n N. do 256 (destruct n as [| n]; [reflexivity |]). lia. }
  specialize (A (Z.to_nat (w + 128))). cbv zeta in A. rewrite Z2Nat.id in A by lia.
  replace (w + 128 - 128) with w in A by lia. apply A. lia.
Qed.

(* Bias, then one to eight products of an unsigned byte: far inside int32. *)
Theorem vnni_steps_fit bias l : within (8 * 128 * 127) bias -> (length l <= 8)%nat ->
  Forall (within (255 * 127)) l -> Z.abs (bias + sum l) < 2 ^ 19.
Proof. intros B L F. apply sum_within in F; [| lia]. unfold within in *. nia. Qed.

(* The eight products times their scale; and two lanes of that. *)
Theorem vnni_lane_fits l s : (length l <= 8)%nat -> Forall (within (128 * 127)) l -> within 128 s ->
  Z.abs (sum l * s) < 2 ^ 24.
Proof.
  intros L F S. apply sum_within in F; [| lia].
  assert (within (8 * (128 * 127)) (sum l)) by (unfold within in *; nia).
  pose proof (product_within _ _ _ _ H S). unfold within in *. lia.
Qed.

Theorem vnni_pair_fits a b : Z.abs a < 2 ^ 24 -> Z.abs b < 2 ^ 24 -> Z.abs (a + b) < 2 ^ 25.
Proof. lia. Qed.
